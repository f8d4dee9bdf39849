"""What can go wrong in a job, and how the command then exits.

JobError (exit 1)
├── SpecError (exit 2)       what was asked for cannot be done: a wrong option, a missing input
├── ErrorRateError (exit 3)  too many of the images are broken
├── StorageError             the storage itself failed after every retry: it throttles, cannot be
│                            reached, refuses the credentials. Never an error row
└── FetchError               one object cannot be read although the storage works; where it was an
                             image, it becomes an error row
"""

from typing import Literal

FetchErrorKind = Literal[
    "not_found", "access_denied", "archived", "storage", "too_large", "unreadable"
]


class JobError(Exception):
    """The job cannot go on; the message is for the user."""

    exit_code = 1


class SpecError(JobError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


class ErrorRateError(JobError):
    """More of the images are broken than `--max-error-rate` allows."""

    exit_code = 3


class StorageError(JobError):
    """The storage failed after every retry. Nothing is lost: the same command continues later."""


class FetchError(JobError):
    """One object cannot be read though others can; `kind` goes into its row's `error_kind`."""

    def __init__(self, kind: FetchErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind: FetchErrorKind = kind

    def __reduce__(self) -> tuple[type["FetchError"], tuple[FetchErrorKind, str]]:
        return (type(self), (self.kind, str(self)))
