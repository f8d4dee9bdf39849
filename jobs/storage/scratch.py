"""Temporary files on local disk."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.errors import StorageError


@contextmanager
def scratch_errors() -> Iterator[None]:
    """Name the folder of temporary files where it cannot be written to."""
    try:
        yield
    except OSError as exc:
        folder = tempfile.gettempdir()
        raise StorageError(f"cannot write to {folder} (set TMPDIR to another): {exc}") from exc
