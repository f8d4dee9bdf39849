"""INPUT and OUTPUT lie apart: what a job writes is none of its objects."""

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from jobs.dataset.layout import Layout
from jobs.errors import SpecError
from jobs.inputs.globs import has_glob, literal_folder, matches_glob
from jobs.storage import is_s3, local_path

_LINKS_LOOKED_FOR = 10_000  # names in the input's folder; all of them could be millions


def check_apart(input_uri: str, layout: Layout) -> None:
    """Refuse an output inside the input, whose files would be labelled, or around it.

    Links are followed, up to the first pattern of a glob.

    Raises:
        SpecError: one holds the other.
    """
    source, root = _real(input_uri), _real(layout.root)
    globs = {input_uri: layout, source: Layout(root)}
    if any(_holds(source, x) for x in _ways(layout.root)) or any(
        map(_takes, globs, globs.values())
    ):
        raise _not_apart(layout.root, root, "lies inside", input_uri, source)
    if any(_holds(root, x) for x in _ways(literal_folder(input_uri))):
        raise _not_apart(layout.root, root, "holds", input_uri, source)


def check_links(input_uri: str, locations: Iterable[str], layout: Layout) -> None:
    """Do the same for links in a local folder: those on the way to some files, and the first ones.

    Raises:
        SpecError: the output lies inside what such a link leads to, or holds it.
    """
    top = Path(local_path(input_uri))
    if is_s3(input_uri) or not top.is_dir():
        return
    folders = {Path(local_path(location)).parent for location in locations}
    found = {path for folder in folders for path in (folder, *folder.parents)}
    with os.scandir(top) as entries:
        found |= {Path(x) for x in islice(entries, _LINKS_LOOKED_FOR) if x.is_symlink()}
    for path in sorted(x for x in found if top in x.parents and x.is_symlink() and x.is_dir()):
        check_apart(str(path), layout)


def _real(uri: str) -> str:
    """Return the path behind the links of a local uri, whose glob stays as it is."""
    if is_s3(uri):
        return uri.rstrip("/")
    path = local_path(uri)
    if not has_glob(path) or os.path.lexists(path):
        return os.path.realpath(path)
    folder = literal_folder(path)
    return os.path.realpath(folder or "/").rstrip("/") + path[len(folder) :]


def _ways(uri: str) -> list[str]:
    """Return the uri, and where the folders on the way to a local one really are."""
    if is_s3(uri):
        return [uri.rstrip("/")]
    path = Path(local_path(uri) or "/")
    return [os.path.realpath(x) for x in (path, *path.parents)]


def _holds(folder: str, place: str) -> bool:
    return f"{place.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


def _takes(glob: str, layout: Layout) -> bool:
    return has_glob(glob) and any(matches_glob(x, glob) for x in layout.examples)


def _not_apart(output: str, root: str, how: str, source: str, place: str) -> SpecError:
    said = [
        uri if is_s3(uri) or local_path(uri).rstrip("/") == real else f"{uri} ({real})"
        for uri, real in ((output, root), (source, place))
    ]
    return SpecError(f"output {said[0]} {how} input {said[1]}; choose an OUTPUT beside it")
