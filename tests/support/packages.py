"""Installed packages, as far as the canaries of `tests/private_apis` look into them."""

import mmap
from importlib.util import find_spec
from pathlib import Path


def package(name: str) -> Path:
    """Return the folder of an installed package."""
    return Path(find_spec(name).submodule_search_locations[0])


def holds(path: Path, words: bytes) -> bool:
    """Say whether a file of any size has these bytes."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(words) >= 0
