"""Bearer tokens: kept as SHA-256, compared in constant time. Without any, the service is open.

A file, or the variable LABELMILL_TOKENS, holds one hash a line (or separated by commas), as
`printf %s "$TOKEN" | sha256sum` prints it; the rest of the line is its name, and `#` starts a
comment.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Sequence
from pathlib import Path

from serving.errors import UnauthorizedError

VARIABLE = "LABELMILL_TOKENS"
_SHA256 = re.compile("[0-9a-f]{64}")


def read_tokens(path: Path | None) -> tuple[str, ...]:
    """Return the hashes in the file and in the environment.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a list of hashes; the message never repeats a token.
    """
    found: list[str] = []
    sources = [] if path is None else [(str(path), path.read_text("utf-8"))]
    if VARIABLE in os.environ:
        sources.append((VARIABLE, os.environ[VARIABLE].replace(",", "\n")))
    for name, text in sources:
        found += _parse(name, text)
    return tuple(dict.fromkeys(found))


def authorize(authorization: str | None, hashes: Sequence[str]) -> None:
    """Check the value of an Authorization header.

    Raises:
        UnauthorizedError: the service has tokens, and this is none of them.
    """
    if not hashes:
        return
    scheme, _, token = (authorization or "").partition(" ")
    digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
    # Compare all, so that the time taken tells nothing.
    matches = [hmac.compare_digest(digest, known) for known in hashes]
    if scheme.lower() != "bearer" or not any(matches):
        raise UnauthorizedError


def _parse(name: str, text: str) -> list[str]:
    lines = [line.partition("#")[0].split() for line in text.splitlines()]
    hashes = [words[0].lower() for words in lines if words]
    if not hashes:
        raise ValueError(f"{name} holds no token; remove it to serve without tokens")
    if not all(map(_SHA256.fullmatch, hashes)):
        raise ValueError(
            f"{name} must hold SHA-256 hashes in hexadecimal, one a line, not the tokens "
            'themselves; make one with: printf %s "$TOKEN" | sha256sum'
        )
    return hashes
