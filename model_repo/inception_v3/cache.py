"""Where what can be made again is kept between runs."""

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """Return the user's cache folder for one kind of thing; it need not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "labelmill" / kind
