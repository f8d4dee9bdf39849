"""Where to keep, between runs, what can be made again."""

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """Return the user's cache folder for one kind of content; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "labelmill" / kind
