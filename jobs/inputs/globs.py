"""Globs as in a shell: which folder they start from, and which uris they match."""

import re

from jobs.errors import SpecError

_GLOB_CHARACTER = re.compile(r"[*?\[]")
_TOKEN = re.compile(r"(?:^|(?<=/))\*\*/|\*\*|\[(!?)(\]?[^\]/]*)\]|.", re.DOTALL)


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
    """Say whether a uri matches a glob."""
    return re.fullmatch(translate_glob(glob), uri, re.DOTALL) is not None


def translate_glob(glob: str) -> str:
    """Write a glob as a regular expression: `**` crosses folders, `*` and `?` don't.

    Raises:
        SpecError: its brackets mean nothing.
    """
    pattern = _TOKEN.sub(_translate_token, glob)
    try:
        re.compile(pattern)
    except re.error as exc:
        raise SpecError(f"{glob!r} is no glob: {exc.msg}; see its brackets") from exc
    return pattern


def _translate_token(token: re.Match[str]) -> str:
    match token[0]:
        case "**/":
            return "(?:.*/)?"
        case "**":
            return ".*"
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
    if token[2] is None:
        return re.escape(token[0])
    inside = re.sub(r"([\\\[&~|^])", r"\\\1", token[2]).replace("]", r"\]")
    return f"(?!/)[{'^' if token[1] else ''}{inside}]"
