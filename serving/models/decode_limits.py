"""How many pixels an image may have, given the memory that decoding it takes."""

from math import inf

from model_repo.inception_v3 import DecodeError
from model_repo.inception_v3.decoding.formats import image_format
from model_repo.inception_v3.decoding.jpeg_segments import (
    HUFFMAN_SEQUENTIAL,
    SOF,
    SOS,
    jpeg_segments,
)

# Memory that any file may take, and that each of its bytes adds. Photos and screenshots stay below
# it; a flat picture would take hundreds of times as much.
_FREE_BYTES = 36_000_000
_BYTES_PER_BYTE = 100

# Peak bytes of memory per pixel, measured; test_decode_limits.py checks them.
_JPEG = 6.0  # usually 3; under 1 where large ones are decoded at a fraction of their size
_JPEG_WHOLE = 9.5  # progressive: all coefficients stay in memory
_JPEG_CMYK = 12.5
_PNG_RGB = 8.5
_WEBP = 13.5
_HEIF = 16.0
_TIFF = 17.0
_JPEG_2000 = 26.0
_OTHERS = 10.0

_USUAL_SCANS = 32  # a progressive JPEG has about ten


def pixel_limit(image: bytes, max_pixels: int, sent_bytes: float = inf) -> int:
    """Return how many pixels an encoded image may have, at most `max_pixels`.

    Of an image that came in a compressed body, only the bytes sent count.
    """
    budget = _FREE_BYTES + _BYTES_PER_BYTE * min(len(image), sent_bytes)
    return min(max_pixels, int(budget / _bytes_per_pixel(image)))


def _bytes_per_pixel(image: bytes) -> float:
    try:
        kind = image_format(image)
    except DecodeError:
        return _OTHERS  # it will not be decoded
    if kind == "JPEG":
        return _jpeg_bytes_per_pixel(image)
    if kind == "PNG" and image[24:26] == b"\x08\x02":
        return _PNG_RGB
    newer = {"WebP": _WEBP, "AVIF": _HEIF, "HEIC": _HEIF, "JPEG 2000": _JPEG_2000, "TIFF": _TIFF}
    return newer.get(kind, _OTHERS)


def _jpeg_bytes_per_pixel(image: bytes) -> float:
    marker, components, in_scan, scans_at = 0, 4, 0, 2
    for each, start, end in jpeg_segments(image):
        scans_at = start - 4 if each == SOS else end
        if each in SOF:
            marker, components = each, image[start + 5] if start + 5 < len(image) else 4
        elif each == SOS and start < len(image):
            in_scan = image[start]
    if components > 3:
        return _JPEG_CMYK * _scans(image, scans_at)
    # A sequential one is kept whole, too, if its first scan lacks components.
    if marker in HUFFMAN_SEQUENTIAL and in_scan == components:
        return _JPEG
    return _JPEG_WHOLE * _scans(image, scans_at)


def _scans(image: bytes, start: int) -> int:
    """Return 1, or more if the number of scans makes decoding slow."""
    return max(1, image.count(b"\xff\xda", start) // _USUAL_SCANS)
