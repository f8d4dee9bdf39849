"""Read a body, bounded before and while it is read, and decompress it within the same bound."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from serving.admission import check_body_size, check_expansion
from serving.config import UserConfig
from serving.errors import BadRequestError, UnsupportedMediaTypeError

_WINDOW_BITS = {"gzip": 31, "deflate": 15}  # how zlib names the two formats
_MAX_PARTS = 256
_SLICE_BYTES = 1024 * 1024

# Called with the bytes received and decompressed so far; may raise OverloadedError.
Note = Callable[[int, int], None]


async def read_body(request: Request, limits: UserConfig, note: Note | None = None) -> bytes:
    """Read the whole body, decompressed.

    Raises:
        ContentTooLargeError: it is over `max_body_bytes`, as sent or decompressed.
        BadRequestError: it is damaged.
        UnsupportedMediaTypeError: its Content-Encoding is unknown.
    """
    parts = [part async for part in _stream(request, limits, note)]
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def read_files(
    request: Request, limits: UserConfig, note: Note
) -> list[tuple[str | None, bytes]]:
    """Read the files of a multipart body: name and content, in order.

    Raises:
        ContentTooLargeError, UnsupportedMediaTypeError: as `read_body`.
        BadRequestError: it is damaged, or has no file.
    """
    parser = MultiPartParser(
        request.headers,
        _stream(request, limits, note),
        max_files=_MAX_PARTS,
        max_fields=_MAX_PARTS,
        max_part_size=limits.max_body_bytes,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as exc:
        reason = getattr(exc, "message", None) or "damaged"
        raise BadRequestError(f"the multipart body cannot be read: {reason}") from exc
    try:
        files = [
            (value.filename or None, await value.read())
            for _, value in form.multi_items()
            if isinstance(value, UploadFile)
        ]
    finally:
        await form.close()
    if not files:
        raise BadRequestError("the multipart body has no file; send one with: curl -F image=@FILE")
    return files


async def _stream(
    request: Request, limits: UserConfig, note: Note | None
) -> AsyncGenerator[bytes, None]:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity" and encoding not in _WINDOW_BITS:
        raise UnsupportedMediaTypeError(
            f"Content-Encoding {encoding!r} is unknown; send gzip, deflate or neither"
        )
    inflate = None if encoding == "identity" else zlib.decompressobj(_WINDOW_BITS[encoding])
    received = size = 0
    try:
        async for part in request.stream():
            received += len(part)
            check_body_size(received, limits)
            async for plain in _inflated(inflate, part):
                size += len(plain)
                check_body_size(size, limits)
                check_expansion(received, size)
                if note is not None:
                    note(received, size)
                yield plain
    except ClientDisconnect as exc:
        raise BadRequestError("the body ended early") from exc
    except zlib.error as exc:
        raise BadRequestError(f"the body is not {encoding}: {exc}") from exc
    if inflate is not None and received and not inflate.eof:
        raise BadRequestError(f"the {encoding} body ended early")


async def _inflated(inflate: Any, part: bytes) -> AsyncGenerator[bytes, None]:
    """Decompress a part of a body, if compressed, slice by slice and off the event loop."""
    if inflate is None:
        yield part
        return
    while part:
        plain = await asyncio.to_thread(inflate.decompress, part, _SLICE_BYTES)
        part = inflate.unconsumed_tail
        yield plain
