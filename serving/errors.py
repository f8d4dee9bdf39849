"""What can go wrong with a request, and the one table of what each protocol then answers.

ServiceError                     500  INTERNAL
├── BadRequestError              400  INVALID_ARGUMENT      not what the protocol wants
├── UnauthorizedError            401  UNAUTHENTICATED
├── ForbiddenError               403  PERMISSION_DENIED     from where one may not ask
├── NotFoundError                404  NOT_FOUND             no such model, version or path
├── ContentTooLargeError         413  INVALID_ARGUMENT      too many bytes, pixels or images
├── UnsupportedMediaTypeError    415  INVALID_ARGUMENT      a body that is declared to be no image
├── OverloadedError              503  RESOURCE_EXHAUSTED    more than can be answered in time
├── UnavailableError             503  UNAVAILABLE           for a moment, and not for the load
├── DeadlineError                504  DEADLINE_EXCEEDED
└── UnimplementedError           501  UNIMPLEMENTED         a part of the protocol that we do not do

and of the model's own: `DecodeError` is 422, or 413 where its kind is `too_large`.
"""

from dataclasses import dataclass

from grpc import StatusCode

from model_repo.inception_v3 import DecodeError


class ServiceError(Exception):
    """Base of everything that a caller is told; the message is for them."""


class BadRequestError(ServiceError):
    """The request is not what the protocol or the model wants."""


class UnauthorizedError(ServiceError):
    """There is no valid token; nothing more is said."""

    def __init__(self) -> None:
        super().__init__("unauthorized")


class ForbiddenError(ServiceError):
    """Whoever asks may not ask from where they are."""


class NotFoundError(ServiceError):
    """There is no such model, version or path."""


class ContentTooLargeError(ServiceError):
    """The body has too many bytes, pixels or images."""


class UnsupportedMediaTypeError(ServiceError):
    """The body is declared to be something that is no image."""


class OverloadedError(ServiceError):
    """More is asked for than can be answered in time.

    Attributes:
        retry_after_s: when it is worth trying again.
        full: whether there was no room even for a single image.
    """

    def __init__(self, message: str, retry_after_s: int = 1, *, full: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.full = full


class UnavailableError(ServiceError):
    """A part of the service is being started anew."""


class DeadlineError(ServiceError):
    """The answer would have come too late."""


class UnimplementedError(ServiceError):
    """A part of the protocol that labelmill does not do."""


@dataclass(frozen=True, slots=True)
class Status:
    """What the two protocols call the same outcome."""

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
    """Return what to answer; what is not in the table is our own fault."""
    if isinstance(exc, DecodeError):
        return Status(413 if exc.kind == "too_large" else 422, StatusCode.INVALID_ARGUMENT)
    return _STATUS.get(type(exc), Status(500, StatusCode.INTERNAL))  # type: ignore[arg-type]


def to_message(exc: Exception) -> str:
    """Return what to tell the caller: of our own faults nothing but that it is one."""
    if isinstance(exc, ServiceError | DecodeError):
        return str(exc)
    return "internal error; the service's log has more under this request's id"
