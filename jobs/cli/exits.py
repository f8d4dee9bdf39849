"""How a command ends: its exit codes, and the sentence that says why it failed."""

import json
import sys
from typing import NoReturn

EXIT_OVER_ERROR_RATE = 3
EXIT_NOT_PASSED = 3
EXIT_INTERRUPTED = 130


def fail(message: str, exit_code: int) -> NoReturn:
    """Say why the command failed, with `--json` as an object as well, and exit."""
    if "--json" in sys.argv[1:]:
        print(json.dumps({"state": "failed", "error": message, "exit_code": exit_code}))
    print(f"labelmill: {message}", file=sys.stderr)
    sys.exit(exit_code)
