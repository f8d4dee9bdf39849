"""Globs, as shells write them: which folder they start from, and which uris they match."""

import re

_GLOB_CHARACTER = re.compile(r"[*?\[]")


def has_glob(uri: str) -> bool:
    """Say whether a uri has glob characters."""
    return _GLOB_CHARACTER.search(uri) is not None


def literal_folder(uri: str) -> str:
    """Return what a uri names without a glob: itself, or the folder above the first pattern."""
    return literal_prefix(uri).rpartition("/")[0] if has_glob(uri) else uri


def literal_prefix(uri: str) -> str:
    """Return what comes before the first pattern of a uri."""
    first = _GLOB_CHARACTER.search(uri)
    return uri[: first.start()] if first else uri


def matches_glob(uri: str, glob: str) -> bool:
    """Say whether a glob takes a uri."""
    return re.fullmatch(translate_glob(glob), uri, re.DOTALL) is not None


def translate_glob(glob: str) -> str:
    """Write a glob as a regular expression: `**` crosses folders, `*` and `?` don't."""
    pattern, position = "", 0
    while position < len(glob):
        part, length = _translate_next(glob, position)
        pattern += part
        position += length
    return pattern


def _translate_next(glob: str, position: int) -> tuple[str, int]:
    rest = glob[position:]
    if rest.startswith("**/") and glob[position - 1 : position] in ("", "/"):
        return "(?:.*/)?", 3
    if rest.startswith("**"):
        return ".*", 2
    if rest[0] in "*?":
        return ("[^/]*" if rest[0] == "*" else "[^/]"), 1
    characters = re.match(r"\[(!?)(\]?[^\]/]*)\]", rest)
    if characters:
        inside = re.sub(r"([\\\[&~|^])", r"\\\1", characters[2]).replace("]", r"\]")
        return f"(?!/)[{'^' if characters[1] else ''}{inside}]", characters.end()
    return re.escape(rest[0]), 1
