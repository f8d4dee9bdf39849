"""One line of JSON for each request, with the id that its answer has as `x-request-id`."""

import logging

_logger = logging.getLogger("ray.serve")  # Serve's; it writes JSON and adds the request's id

CLIENT_GONE = 499  # the status that proxies log when the client left first


def log_access(protocol: str, method: str, path: str, status: int, seconds: float) -> None:
    """Log one request; `status` is HTTP's, for gRPC, too."""
    fields = {
        "protocol": protocol,
        "method": method,
        "path": path,
        "status": status,
        "milliseconds": round(seconds * 1000, 1),
    }
    _logger.info("%(method)s %(path)s %(status)d", fields, extra=fields)
