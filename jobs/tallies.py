"""Counts by name: bounded while they grow, and short where they are said."""

import re
from collections import Counter
from collections.abc import Mapping

OTHER = "other"
NO_SUFFIX = "no suffix"
MOST_KEPT = 20  # names in job.json

_MOST_NAMES = 1000  # while counting
_MOST_SAID = 5
_SUFFIX = re.compile(r"[^/#](\.\w[\w+~-]{0,15})\Z")


def suffix_of(uri: str) -> str:
    """Return the suffix of an object's name, in lower case, with its dot; or `no suffix`."""
    found = _SUFFIX.search(uri)
    return found[1].lower() if found else NO_SUFFIX


def count(tally: Counter[str], name: str, number: int = 1) -> None:
    """Count a name; of very many different names, the later ones count as `other`."""
    tally[name if name in tally or len(tally) < _MOST_NAMES else OTHER] += number


def add(tally: Counter[str], more: Mapping[str, int]) -> None:
    """Add another tally."""
    for name, number in more.items():
        count(tally, name, number)


def shorten(tally: Mapping[str, int], most: int = MOST_KEPT) -> dict[str, int]:
    """Keep the most frequent names, in that order; the rest is `other`, at the end."""
    named = {name: number for name, number in tally.items() if name != OTHER}
    first = sorted(named, key=lambda name: (-named[name], name))[:most]
    rest = sum(tally.values()) - sum(named[name] for name in first)
    return {name: named[name] for name in first} | ({OTHER: rest} if rest else {})


def describe(tally: Mapping[str, int]) -> str:
    """Say the most frequent names: '8 .json, 4 .txt, 3 other'."""
    return ", ".join(f"{number:,} {name}" for name, number in shorten(tally, _MOST_SAID).items())


def say_not_images(number: int) -> str:
    """Say how many objects are of the kind `not_an_image`."""
    return "1 not an image" if number == 1 else f"{number:,} not images"
