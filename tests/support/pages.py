"""The README and the pages of docs/: their fenced blocks, and the commands in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"\s+# .*$")


@dataclass(frozen=True)
class Block:
    """One fenced block: which page it is on, what it is written in, and its text."""

    page: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Return the command lines, without the comments behind them."""
        return [_COMMENT.sub("", line) for line in self.text.splitlines() if line.strip()]


def blocks(language: str | None = None) -> list[Block]:
    """Return the blocks of all pages, in order; those in one language, if it is given."""
    return [
        Block(page.name, found[1], found[2])
        for page in PAGES
        for found in _BLOCK.finditer(page.read_text())
        if language in (None, found[1])
    ]


def commands(program: str = "") -> list[str]:
    """Return the command lines of all pages that begin so, each once."""
    lines = [line for block in blocks("sh") for line in block.commands]
    return [line for line in dict.fromkeys(lines) if line.startswith(program)]
