"""How long a client is ready to wait, as it says in `x-request-timeout-seconds`."""

from math import isfinite

from starlette.datastructures import Headers

from serving.errors import BadRequestError

HEADER = "x-request-timeout-seconds"

# Ray Serve's proxy counts the same seconds, and its answer to a late one is no JSON: be earlier.
_SHARE = 0.95


def client_timeout_s(headers: Headers) -> float | None:
    """Return how many seconds there are for the answer, if the client says so.

    Raises:
        BadRequestError: it says so in something else than seconds.
    """
    text = headers.get(HEADER)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not isfinite(seconds) or seconds <= 0:
        raise BadRequestError(f"{HEADER} {text!r} is no number of seconds above 0")
    return seconds * _SHARE
