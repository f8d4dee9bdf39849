"""Runs `labelmill` commands one after another in one process, which imports what they need once.

    python -m tests.support.run_commands < lines

Each line is run as its user would: whole entry, arguments, exit code. Prints JSON, one result a
line; what a command prints goes to stderr.
"""

import contextlib
import json
import shlex
import sys

from jobs.__main__ import main


def run(line: str) -> int:
    """Run one command line and return its exit code."""
    sys.argv = shlex.split(line)
    try:
        main()
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    return 0


if __name__ == "__main__":
    for each in sys.stdin.read().splitlines():
        print(f"$ {each}", file=sys.stderr, flush=True)
        with contextlib.redirect_stdout(sys.stderr):
            code = run(each)
        print(json.dumps({"line": each, "code": code}), flush=True)
