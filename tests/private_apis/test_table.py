"""CONTRIBUTING.md's table of private APIs: complete, and each row has a canary beside this file."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = (
    (ROOT / "CONTRIBUTING.md").read_text().partition("## Private APIs\n")[2].partition("\n## ")[0]
)
ROWS = [line.strip("| ").split(" | ") for line in TABLE.splitlines()[2:] if line.startswith("| ")]
ROWS = [row for row in ROWS if not set(row[0]) <= set("- |") and row[0] != "what"]
ROOMS = ("jobs", "serving", "model_repo", "tests/support")
DOCUMENTED = {"RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_TMPDIR"}


def test_each_row_has_a_canary_and_a_user():
    canaries = {
        name
        for path in Path(__file__).parent.glob("test_*.py")
        if path != Path(__file__)
        for name in re.findall(r"^def test_(\w+)\(", path.read_text(), re.MULTILINE)
    }
    users = {room for row in ROWS for room in re.findall(r"`([\w./]+)`", row[1])}

    assert ROWS
    assert {name for row in ROWS for name in re.findall(r"`(\w+)`", row[-1])} == canaries
    assert [room for room in sorted(users) if not (ROOT / room).exists()] == []


def test_every_variable_of_ray_is_there():
    sources = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    text = "\n".join(path.read_text() for path in [*sources, ROOT / "deploy" / "serve.yaml"])
    used = set(re.findall(r"\bRAY_\w+[A-Za-z]\b", text)) - DOCUMENTED

    assert used
    assert [name for name in sorted(used) if f"`{name}`" not in TABLE] == []


def test_nothing_else_of_others_is_private():
    """Neither a name that is imported nor an attribute of a variable begins with `_`."""
    ours = "(?!jobs|serving|model_repo|tests|_typeshed)"
    imported = re.compile(rf"^\s*(?:from|import) {ours}\S*\b_[a-z]")
    attribute = re.compile(r"(?<![\w.])(?!self\b|cls\b|os\b|child\b)[a-z]\w*\._[a-z]\w*")
    found = {
        line.strip()
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for line in path.read_text().splitlines()
        if imported.search(line) or attribute.search(line)
    }

    assert found == {"image._decoder = None"}
