"""A WebP's size without decoding, and its memory while it is decoded."""

import struct

from PIL.WebPImagePlugin import WebPImageFile

from model_repo.inception_v3.errors import DecodeError


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
