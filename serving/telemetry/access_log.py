"""One line of JSON for each request, with the id that the answer's `x-request-id` carries."""

import logging

_logger = logging.getLogger("ray.serve")  # Serve's: it writes JSON, and adds the request's id

CLIENT_GONE = 499  # as proxies write the status where the client went away first


def log_access(protocol: str, method: str, path: str, status: int, seconds: float) -> None:
    """Write the line of one request; `status` is HTTP's in either protocol."""
    _logger.info(
        "%s %s %d",
        method,
        path,
        status,
        extra={
            "protocol": protocol,
            "method": method,
            "path": path,
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
        },
    )
