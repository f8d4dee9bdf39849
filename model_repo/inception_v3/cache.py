"""Where to keep, between runs, what can be made again."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory


def cache_folder(kind: str) -> Path:
    """Return the user's cache folder for one kind of content; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "labelmill" / kind


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which becomes `target` at the end; nothing after an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary) / "whole"
        folder.mkdir()
        yield folder
        with suppress(OSError):  # another process was faster
            folder.rename(target)
