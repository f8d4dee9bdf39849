"""Which objects count, by their names: `--include`, `--exclude`, and what desktops leave behind."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from jobs.inputs.globs import translate_glob
from jobs.tallies import suffix_of

# What desktops leave beside the files; no image where a folder is listed.
LITTER = (".DS_Store", "Thumbs.db", "._*")
_SIGNS_OF_LITTER = ("/.ds_store", "/thumbs.db", "/._")


@dataclass(frozen=True, slots=True)
class Names:
    """Globs for names; upper and lower case are the same.

    One without a slash is compared with the last part of a name, one with a slash with all of it.

    Attributes:
        include: only what matches one of them counts; without any, everything does.
        exclude: what matches one of them does not count.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude)

    def reason(self, name: str, *, litter: bool = True) -> str | None:
        """Return why a name is passed over: a pattern, or its suffix; None if it counts.

        Args:
            name: a path, with slashes.
            litter: whether `LITTER` is passed over, too.
        """
        left_out = self.exclude + LITTER if litter else self.exclude
        for glob in left_out:
            if _matcher(glob)(name):
                return glob
        if self.include and not any(_matcher(glob)(name) for glob in self.include):
            return suffix_of(name)
        return None

    def take_all(self, uris: Iterable[str]) -> bool:
        """Say whether certainly none of many uris is passed over; takes next to no time."""
        if self:
            return False
        text = "\n".join(uris).lower()
        return not any(sign in text for sign in _SIGNS_OF_LITTER)


ALL_NAMES = Names()


@lru_cache(maxsize=256)
def _matcher(glob: str) -> Callable[[str], object]:
    pattern = translate_glob(glob)
    start = "" if "/" in glob else "(?:.*/)?"
    return re.compile(start + pattern, re.DOTALL | re.IGNORECASE).fullmatch
