"""The chunks of a PNG, before it is decoded."""

import struct
import zlib

from model_repo.inception_v3.decoding.decoded import MAX_PARTS
from model_repo.inception_v3.errors import DecodeError


def check_png_chunks(data: bytes) -> None:
    """Refuse damaged pixel data, whose checksums Pillow ignores, and absurdly many chunks.

    Raises:
        DecodeError: a checksum is wrong, or there are too many chunks besides the image data.
    """
    position, others, view = 8, 0, memoryview(data)
    while position + 12 <= len(data) and others <= MAX_PARTS:
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if not data.startswith(b"IDAT", position + 4):
            others += 1
        elif end + 4 <= len(data):
            (stated,) = struct.unpack_from(">I", data, end)
            if zlib.crc32(view[position + 4 : end]) != stated:
                message = f"PNG checksum mismatch in the chunk at byte {position}"
                raise DecodeError("unreadable", message)
        position = end + 4
    if others > MAX_PARTS:
        message = f"PNG with more than {MAX_PARTS:,} chunks besides the image data"
        raise DecodeError("unreadable", message)
