"""What can go wrong between encoded bytes and a prediction.

ModelError
├── DecodeError        the bytes are not an image we can label     → an error row, or a 4xx
├── WeightsError       weights are missing, corrupt or do not fit
├── RepositoryError    the model repository, a config.pbtxt or a labels.txt is wrong
└── InputError         an array of the wrong shape or dtype: a bug in the caller
"""

from collections.abc import Mapping
from typing import Any, Literal

DecodeErrorKind = Literal["not_an_image", "unreadable", "too_large"]


class ModelError(Exception):
    """Base of everything that this package raises on purpose."""


class DecodeError(ModelError):
    """One image cannot be labelled; the others in its batch are not affected.

    Attributes:
        kind: `not_an_image` (another kind of file), `unreadable` (damaged, empty, or of a format
            or layout that is not read) or `too_large` (over a limit).
    """

    def __init__(self, kind: DecodeErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind: DecodeErrorKind = kind

    def __reduce__(self) -> tuple[type["DecodeError"], tuple[DecodeErrorKind, str]]:
        return (type(self), (self.kind, str(self)))


class WeightsError(ModelError):
    """Weights are missing, corrupt, or do not fit the network."""


class RepositoryError(ModelError):
    """The model repository, or one of its files, is missing or wrong."""


class InputError(ModelError):
    """An array has the wrong shape or dtype."""


def describe_problem(name: str, problem: Mapping[str, Any]) -> str:
    """Say what is wrong with an option or field; `problem` is one of pydantic's `errors()`."""
    text = str(problem["msg"]).removeprefix("Value error, ")
    return f"{name}: {text[0].lower()}{text[1:]}"
