"""A WebP's container and size, before it is decoded, and its memory while it is."""

import struct

from PIL.WebPImagePlugin import WebPImageFile

from model_repo.inception_v3.errors import DecodeError

_NEEDED = (b"VP8X", b"ALPH", b"VP8 ", b"VP8L", b"ANIM", b"ANMF", b"EXIF")
_ABOUT_OTHERS = 0x24  # the bits of the header that promise a profile and XMP


def mend_webp(data: bytes) -> bytes:
    """Return the very bytes given or, if the container is wrong, those of them that are needed."""
    end = 8 + int.from_bytes(data[4:8], "little")
    kept, position = [], 12
    while position + 8 <= len(data) and position != end:
        kind, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + length]
        if kind == b"VP8X":
            body = bytes([body[0] & ~_ABOUT_OTHERS]) + body[1:] if body else body
        is_whole = len(body) == length
        if kind in _NEEDED and (is_whole or kind != b"EXIF"):
            kept.append(struct.pack("<4sI", kind, length) + body + bytes(length % 2 and is_whole))
        position += 8 + length + length % 2
    if position == end <= len(data):
        return data
    pixels = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(pixels)) + pixels


def webp_size(data: bytes) -> tuple[int, int]:
    """Return the width and height of a WebP's canvas."""
    chunk = data[12:16]
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8X":
        width, height = data[24:27], data[27:30]
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    raise DecodeError("unreadable", f"WebP starts with an unknown chunk {chunk!r}")


def free_early(image: WebPImageFile) -> None:
    """Make Pillow free libwebp's canvases before it allocates its own image."""

    def prepare() -> None:
        image._decoder = None
        WebPImageFile.load_prepare(image)

    image.load_prepare = prepare  # type: ignore[method-assign]
