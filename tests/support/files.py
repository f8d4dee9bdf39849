"""What listings are compared with."""

import os
from pathlib import Path


def names(listing, root: str) -> list[str]:
    return [stored.uri.removeprefix(root).lstrip("/") for stored in listing]


def put_files(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(os.fsencode(path))
