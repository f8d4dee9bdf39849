"""Repeating what failed for a passing reason."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from model_repo.inception_v3.s3.faults import BotoError, fault_of

T = TypeVar("T")

# How long a request that fails for a passing reason is repeated. Short of this, a restart of the
# server would end a job; far beyond it, a job would hang on a server that is gone.
PATIENCE_S = 45.0
_LONGEST_PAUSE_S = 5.0


def retry(request: Callable[[], T], patience_s: float | None = None) -> T:
    """Send a boto3 request until it succeeds, fails for a lasting reason, or patience ends.

    The client's own retries are few, and do not cover a body that breaks off. The request must be
    safe to send twice.

    Args:
        request: sends it, and reads as much of the answer as is wanted.
        patience_s: None for `PATIENCE_S`.
    """
    deadline = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
    pause_s = 0.2
    while True:
        try:
            return request()
        except BotoError as exc:
            if not fault_of(exc).is_passing or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(pause_s / 2, pause_s))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
