"""What a call costs, counted rather than timed, so that it is the same on a busy machine."""

import os
import sys
from collections.abc import Callable

from tests.support.processes import peak_bytes, reset_peak


def calls_made(function: Callable[[], object]) -> int:
    """Count the functions that are called in this thread, in Python or in C, until it returns."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return calls


def memory_taken(function: Callable[[], object]) -> int:
    """Return by how many bytes this process grew at the worst moment until it returned."""
    reset_peak(os.getpid())
    before = peak_bytes(os.getpid())
    function()
    return peak_bytes(os.getpid()) - before


def connections_tried(function: Callable[[], object]) -> int:
    """Count the connections that this process opens, or tries to, until it returns."""
    tried, counting = 0, True

    def count(event: str, _arguments: object) -> None:  # cannot be taken back, so it is switched
        nonlocal tried
        tried += counting and event == "socket.connect"

    sys.addaudithook(count)
    try:
        function()
    finally:
        counting = False
    return tried
