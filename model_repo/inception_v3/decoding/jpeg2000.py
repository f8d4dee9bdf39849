"""What a JPEG 2000 codestream says of itself, before it is decoded."""

import struct

from model_repo.inception_v3.errors import DecodeError

_START = b"\xff\x4f\xff\x51"


def codestream_header(data: bytes) -> tuple[int, int, int]:
    """Return width, height and bits per channel, which the file around it need not state right.

    Raises:
        DecodeError: there is no codestream, or it is cut short.
    """
    at = _codestream(data)
    try:
        right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
        (components,) = struct.unpack_from(">H", data, at + 40)
        depths = [data[at + 42 + 3 * number] & 0x7F for number in range(components)]
    except (struct.error, IndexError) as exc:
        raise DecodeError("unreadable", "JPEG 2000 cut short in its header") from exc
    return right - left, bottom - top, max(depths, default=7) + 1


def _codestream(data: bytes) -> int:
    """Return where the codestream begins: at once, or in a box of its own."""
    if data.startswith(_START):
        return 0
    position = 0
    while position + 16 <= len(data):
        length, kind, long_length = struct.unpack_from(">I4sQ", data, position)
        if kind == b"jp2c":
            return position + (16 if length == 1 else 8)
        length = long_length if length == 1 else length
        if length < 8:
            break
        position += length
    raise DecodeError("unreadable", "JPEG 2000 without a codestream")
