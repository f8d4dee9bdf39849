"""What can go wrong with a request, and the one table of what each protocol answers.

ServiceError                     500  INTERNAL
├── BadRequestError              400  INVALID_ARGUMENT      against the protocol or the model
├── UnauthorizedError            401  UNAUTHENTICATED
├── ForbiddenError               403  PERMISSION_DENIED     from another machine
├── NotFoundError                404  NOT_FOUND             no such model, version or path
├── ContentTooLargeError         413  INVALID_ARGUMENT      too many bytes, pixels or images
├── UnsupportedMediaTypeError    415  INVALID_ARGUMENT      the declared type is not an image
├── OverloadedError              503  RESOURCE_EXHAUSTED    more than can be answered in time
├── UnavailableError             503  UNAVAILABLE           a part restarts; not overload
├── DeadlineError                504  DEADLINE_EXCEEDED
└── UnimplementedError           501  UNIMPLEMENTED         unsupported part of the protocol

The model's `DecodeError` is 422, or 413 if its kind is `too_large`.
"""

from dataclasses import dataclass

from grpc import StatusCode

from model_repo.inception_v3 import DecodeError


class ServiceError(Exception):
    """Base of all errors whose message is for the caller."""


class BadRequestError(ServiceError):
    """The request does not follow the protocol, or does not fit the model."""


class UnauthorizedError(ServiceError):
    """There is no valid token; callers are told nothing more."""

    def __init__(self) -> None:
        super().__init__("unauthorized")


class ForbiddenError(ServiceError):
    """The caller may not use the service from its address."""


class NotFoundError(ServiceError):
    """There is no such model, version or path."""


class ContentTooLargeError(ServiceError):
    """The body has too many bytes, pixels or images."""


class UnsupportedMediaTypeError(ServiceError):
    """The declared type of the body is not an image."""


class OverloadedError(ServiceError):
    """There is more work than can be done in time.

    Attributes:
        retry_after_s: when to try again.
        full: whether there was no room even for a single image.
    """

    def __init__(self, message: str, retry_after_s: int = 1, *, full: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.full = full


class UnavailableError(ServiceError):
    """A part of the service is restarting."""


class DeadlineError(ServiceError):
    """The answer would come too late."""


class UnimplementedError(ServiceError):
    """A part of the protocol that labelmill does not support."""


@dataclass(frozen=True, slots=True)
class Status:
    """The status of one outcome in both protocols."""

    http: int
    grpc: StatusCode


_STATUS: dict[type[ServiceError], Status] = {
    BadRequestError: Status(400, StatusCode.INVALID_ARGUMENT),
    UnauthorizedError: Status(401, StatusCode.UNAUTHENTICATED),
    ForbiddenError: Status(403, StatusCode.PERMISSION_DENIED),
    NotFoundError: Status(404, StatusCode.NOT_FOUND),
    ContentTooLargeError: Status(413, StatusCode.INVALID_ARGUMENT),
    UnsupportedMediaTypeError: Status(415, StatusCode.INVALID_ARGUMENT),
    OverloadedError: Status(503, StatusCode.RESOURCE_EXHAUSTED),
    UnavailableError: Status(503, StatusCode.UNAVAILABLE),
    DeadlineError: Status(504, StatusCode.DEADLINE_EXCEEDED),
    UnimplementedError: Status(501, StatusCode.UNIMPLEMENTED),
}


def to_status(exc: Exception) -> Status:
    """Return the status to answer; an error that is not in the table is our own fault."""
    if isinstance(exc, DecodeError):
        return Status(413 if exc.kind == "too_large" else 422, StatusCode.INVALID_ARGUMENT)
    return _STATUS.get(type(exc), Status(500, StatusCode.INTERNAL))  # type: ignore[arg-type]


def to_message(exc: Exception) -> str:
    """Return the message for the caller; of our own faults it says only that there was one."""
    if isinstance(exc, ServiceError | DecodeError):
        return str(exc)
    return "internal error; the service's log has more under this request's id"
