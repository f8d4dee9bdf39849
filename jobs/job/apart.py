"""INPUT and OUTPUT lie apart: what a job writes is none of its objects."""

import os
from collections.abc import Iterable
from pathlib import Path

from jobs.dataset.layout import Layout
from jobs.errors import SpecError
from jobs.inputs.globs import has_glob, literal_folder, matches_glob
from jobs.storage import is_s3, local_path


def check_apart(input_uri: str, layout: Layout) -> None:
    """Refuse an output inside the input, whose files would be labelled, or around it.

    Links are followed, up to the first pattern of a glob.

    Raises:
        SpecError: one holds the other.
    """
    place, root = _real(input_uri), _real(layout.root)
    if _holds(place, root) or (
        has_glob(place) and any(matches_glob(x, place) for x in Layout(root).examples)
    ):
        raise _not_apart(layout.root, root, "lies inside", input_uri, place)
    if _holds(root, literal_folder(place)):
        raise _not_apart(layout.root, root, "holds", input_uri, place)


def check_links(input_uri: str, locations: Iterable[str], layout: Layout) -> None:
    """Do the same for links in a local folder on the way to some of its files.

    Raises:
        SpecError: the output lies inside what such a link leads to, or holds it.
    """
    if is_s3(input_uri) or has_glob(input_uri):
        return
    top = Path(local_path(input_uri))
    folders = {Path(local_path(location)).parent for location in locations}
    above = {path for folder in folders for path in (folder, *folder.parents)}
    for link in sorted(path for path in above if top in path.parents and path.is_symlink()):
        check_apart(str(link), layout)


def _real(uri: str) -> str:
    """Return the path behind the links of a local uri, whose glob stays as it is."""
    if is_s3(uri):
        return uri.rstrip("/")
    path = local_path(uri)
    if not has_glob(path) or os.path.lexists(path):
        return os.path.realpath(path)
    folder = literal_folder(path)
    return os.path.realpath(folder or "/").rstrip("/") + path[len(folder) :]


def _holds(folder: str, place: str) -> bool:
    return f"{place.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


def _not_apart(output: str, root: str, how: str, source: str, place: str) -> SpecError:
    said = [
        uri if is_s3(uri) or local_path(uri).rstrip("/") == real else f"{uri} ({real})"
        for uri, real in ((output, root), (source, place))
    ]
    return SpecError(f"output {said[0]} {how} input {said[1]}; choose an OUTPUT beside it")
