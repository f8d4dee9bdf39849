"""Gives threads their Python names in /proc; on PYTHONPATH, every Python process does it.

So what decoding and the forward pass cost can be told from all else that a replica does. From
Python 3.14 on they have them anyway.
"""

import sys
import threading
from contextlib import suppress
from pathlib import Path

_run = threading.Thread.run


def _run_named(self: threading.Thread) -> None:
    with suppress(OSError):
        Path("/proc/thread-self/comm").write_text(self.name)
    _run(self)


if sys.version_info < (3, 14):
    threading.Thread.run = _run_named
