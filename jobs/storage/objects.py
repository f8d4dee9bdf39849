"""What all storage has in common: URIs, requests, answers and errors."""

import os
import re
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

from jobs.errors import FetchError, SpecError, StorageError
from model_repo.inception_v3.s3.faults import ARCHIVED
from model_repo.inception_v3.s3.uri import is_s3, to_s3

MAX_OBJECT_BYTES = 256 * 1024 * 1024

_FILE = "file://"
_ALSO_FILE = re.compile(r"file:(?:(?=/[^/])|//(?:localhost)?(?=/))", re.IGNORECASE)
_KEPT = "/:*?[]!"  # not percent-encoded: a scheme, and a glob, stay what they are
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class NoBucketError(StorageError):
    """The bucket does not exist."""


class DeniedError(StorageError):
    """The storage works but does not allow this."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes of an object, and its etag."""

    data: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read with one request.

    Attributes:
        offset: where to start; None for the whole object.
        length: how many bytes from there; None for all of them.
        etag: the version that was listed, if known.
        attempt: how many earlier attempts did not give the object intact.
    """

    uri: str
    offset: int | None = None
    length: int | None = None
    etag: str | None = None
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """What one request returned.

    Attributes:
        declared: how many bytes there should be, by the answer's own header.
        is_intact: False if these are known not to be the stored bytes.
    """

    data: bytes
    declared: int
    etag: str
    is_intact: bool = True


def to_uri(text: str) -> str:
    """Turn a path or URI into a URI; what is one already stays as it is.

    Raises:
        SpecError: a scheme that is not supported, or a file of another machine.
    """
    if is_s3(text) or text.startswith(f"{_FILE}/"):
        return text
    if text.startswith("/"):
        return _FILE + to_utf8(os.path.abspath(text))
    if is_s3(uri := to_s3(text)):
        return uri
    if file := _ALSO_FILE.match(text):
        return _FILE + text[file.end() :]
    if scheme := SCHEME.match(text):
        raise SpecError(
            f"unsupported scheme {scheme[0]!r} in {text!r}; supported are s3://, file:/// and "
            "plain local paths"
        )
    return _FILE + to_utf8(os.path.abspath(os.path.expanduser(text)))


def resolve_uri(text: str) -> str:
    """Turn a path or URI that a user wrote into a URI: `file:` may have percent escapes.

    A file that has such an escape in its own name comes first.

    Raises:
        SpecError: as `to_uri`.
    """
    uri = to_uri(text)
    if "%" not in uri or text[:5].lower() != "file:":
        return uri
    path = uri.removeprefix(_FILE)
    decoded = os.fsdecode(unquote_to_bytes(os.fsencode(path)))
    return uri if os.path.lexists(path) or "\0" in decoded else to_uri(decoded)


def to_utf8(name: str) -> str:
    """Percent-encode a name that is not valid UTF-8, or that looks like one that was encoded.

    So no two names become the same. Any other name stays as it is, whatever percent signs it has.
    """
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        return quote_from_bytes(name.encode("utf-8", "surrogateescape"), _KEPT)
    return quote_from_bytes(raw, _KEPT) if "%" in name and _is_encoded(raw) else name


def from_utf8(name: str) -> str:
    """Undo `to_utf8`."""
    if "%" not in name or not _is_encoded(name.encode("utf-8", "surrogateescape")):
        return name
    return unquote_to_bytes(name).decode("utf-8", "surrogateescape")


def raw_uri(uri: str) -> str:
    """Return a URI with the name as the storage has it, to be compared with what users write."""
    return uri if is_s3(uri) else from_utf8(uri)


def _is_encoded(name: bytes) -> bool:
    """Say whether percent-decoding a name, perhaps more than once, gives invalid UTF-8."""
    while (decoded := unquote_to_bytes(name)) != name:
        name = decoded
        try:
            name.decode()
        except UnicodeDecodeError:
            return True
    return False


def local_path(uri: str) -> str:
    """Return the path of a `file://` URI, undoing `to_utf8`.

    What a user wrote may be percent-encoded, too: the raw path counts if it exists, else the
    decoded one.
    """
    name = uri.removeprefix(_FILE)
    raw = from_utf8(name)
    if "%" not in name or raw != name or os.path.lexists(raw):
        return raw
    decoded = os.fsdecode(unquote_to_bytes(raw))
    return decoded if "\0" not in decoded and os.path.lexists(decoded) else raw


def archived(uri: str) -> FetchError:
    """Say that an object has to be restored before it can be read."""
    return FetchError("archived", f"{uri} is {ARCHIVED}, then use --retry-errors")


def check_size(uri: str, size: int) -> None:
    """Refuse an object that is too large for an image.

    Raises:
        FetchError: `too_large`.
    """
    if size > MAX_OBJECT_BYTES:
        raise FetchError(
            "too_large", f"{uri} has {size:,} bytes; the limit is {MAX_OBJECT_BYTES:,}"
        )
