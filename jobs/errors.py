"""What can go wrong in a job, and how the command then exits.

JobError (exit 1)
├── SpecError (exit 2)     what was asked for cannot be: a wrong option, a missing input
├── StorageError           the storage itself failed after every retry: it throttles, is not
│                          reached, does not take the credentials. Never an error row
└── FetchError             one object could not be read although the storage works; an image's
                           becomes an error row
"""

from typing import Literal

FetchErrorKind = Literal["not_found", "access_denied", "storage", "too_large"]


class JobError(Exception):
    """The job cannot go on; the message is for the user."""

    exit_code = 1


class SpecError(JobError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


class StorageError(JobError):
    """The storage failed after every retry. Nothing is lost: the same command continues later."""


class FetchError(JobError):
    """One object could not be read though others can. Where it was an image, the job goes on.

    Attributes:
        kind: what goes into the row's `error_kind`.
    """

    def __init__(self, kind: FetchErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind: FetchErrorKind = kind

    def __reduce__(self) -> tuple[type["FetchError"], tuple[FetchErrorKind, str]]:
        return (type(self), (self.kind, str(self)))
