"""JPEG, decoded strictly: damage inside the stream is an error, not a grey area in the picture."""

from collections.abc import Iterator

import simplejpeg

from model_repo.inception_v3.decoding.decoded import Decoded, check_size, finish
from model_repo.inception_v3.decoding.exif import exif_orientation
from model_repo.inception_v3.decoding.rgb import cmyk_to_rgb
from model_repo.inception_v3.errors import DecodeError
from model_repo.inception_v3.spec import Pixels

MAX_SCANS = 1_000  # a progressive JPEG has about ten; thousands only keep a decoder busy


def decode_jpeg(data: bytes, max_pixels: int, min_side: int | None) -> Decoded:
    """Decode a JPEG; see `decode_image`."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as exc:
        message = "JPEG cannot be decoded: damaged header or unsupported chroma subsampling"
        raise DecodeError("unreadable", message) from exc
    check_size(width, height, max_pixels)
    orientation = jpeg_orientation(data)
    factor = 1
    while min_side and factor < 8 and min(width, height) >= 2 * factor * min_side:
        factor *= 2
    cmyk = colorspace in ("CMYK", "YCCK")
    array: Pixels = simplejpeg.decode_jpeg(
        data,
        "CMYK" if cmyk else "RGB",
        # The smallest size that reaches these is exactly 1/factor.
        min_height=-(-height // factor) if factor > 1 else 0,
        min_width=-(-width // factor) if factor > 1 else 0,
    )
    flags: set[str] = set()
    if cmyk:
        flags.add("cmyk")
        array = cmyk_to_rgb(array)
    return finish(array, (width, height), orientation, flags)


def jpeg_orientation(data: bytes) -> int:
    """Return the orientation, 1 to 8; refuse a progressive stream with absurdly many scans."""
    orientation = 1
    for marker, start, end in jpeg_segments(data):
        if marker == 0xE1 and data.startswith(b"Exif\0\0", start):
            orientation = exif_orientation(data[start:end])
        elif marker in (0xC2, 0xCA):
            scans = data.count(b"\xff\xda", end)
            if scans > MAX_SCANS:
                message = f"JPEG with {scans} scans; the limit is {MAX_SCANS}"
                raise DecodeError("unreadable", message)
    return orientation


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the segments before the first scan."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0xDA:
            return
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        yield marker, position + 4, end
        position = end
