"""JPEG, decoded strictly: damage inside the stream is an error, not a grey area in the picture."""

import io

import numpy as np
import simplejpeg
from PIL import Image

from model_repo.inception_v3.decoding.decoded import Decoded, check_size, finish
from model_repo.inception_v3.decoding.exif import EXIF_START, exif_orientation
from model_repo.inception_v3.decoding.jpeg_repair import Rewritten, rewrite_jpeg
from model_repo.inception_v3.decoding.jpeg_segments import (
    APP1,
    HUFFMAN_CODED,
    LOSSLESS,
    READ,
    Frame,
    jpeg_segments,
)
from model_repo.inception_v3.decoding.rgb import cmyk_to_rgb, to_rgb
from model_repo.inception_v3.errors import DecodeError
from model_repo.inception_v3.spec import Pixels

MAX_SCANS = 1_000  # a progressive JPEG has about ten; thousands only keep a decoder busy
_BY_COMPONENTS = {1: "GRAY", 4: "CMYK"}

# What the strict decoder says where a second look may show that every pixel is there.
_UNKNOWN_SAMPLING = "Could not determine subsampling"
_NO_GRAY = "Unsupported color conversion"  # from gray, in lossless JPEG
_TOO_MUCH = "extraneous bytes before marker"


def decode_jpeg(data: bytes, max_pixels: int, min_side: int | None) -> Decoded:
    """Decode a JPEG; see `decode_image`."""
    orientation = jpeg_orientation(data)
    flags: set[str] = set()
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
        check_size(width, height, max_pixels)
        inks = "CMYK" if colors in ("CMYK", "YCCK") else "RGB"
        array = _decode_strictly(data, (width, height), inks, min_side)
    except (ValueError, KeyError) as exc:  # KeyError: a sampling that it decodes and cannot name
        array, frame, repaired = _decode_unusual(data, exc, max_pixels, min_side)
        width, height, inks = frame.width, frame.height, _inks(frame)
        if repaired:
            flags.add("repaired")
    if inks == "CMYK":
        flags.add("cmyk")
    return finish(array, (width, height), orientation, flags)


def _decode_strictly(data: bytes, size: tuple[int, int], inks: str, min_side: int | None) -> Pixels:
    """Decode to RGB; any damage that the decoder notices is a ValueError."""
    width, height = size
    factor = 1
    while min_side and factor < 8 and min(size) >= 2 * factor * min_side:
        factor *= 2
    array: Pixels = simplejpeg.decode_jpeg(
        data,
        inks,
        # The smallest size that reaches these is exactly 1/factor.
        min_height=-(-height // factor) if factor > 1 else 0,
        min_width=-(-width // factor) if factor > 1 else 0,
    )
    if inks == "CMYK":
        return cmyk_to_rgb(array)
    return np.repeat(array, 3, axis=2) if inks == "GRAY" else array


def _decode_unusual(
    data: bytes, reason: Exception, max_pixels: int, min_side: int | None
) -> tuple[Pixels, Frame, bool]:
    """Decode what the strict decoder refuses for `reason`, if every pixel is there.

    Returns:
        the array, the frame, and whether something about the file was wrong.
    """
    known = (_UNKNOWN_SAMPLING, _NO_GRAY)
    valid = isinstance(reason, KeyError) or any(text in str(reason) for text in known)
    try:
        jpeg = rewrite_jpeg(data, walk=False)
        check_size(jpeg.frame.width, jpeg.frame.height, max_pixels)
        _check_coding(jpeg.frame)
        try:
            array = _decode_rewritten(jpeg, min_side)
        except ValueError as exc:
            if _UNKNOWN_SAMPLING not in str(exc) and _TOO_MUCH not in str(exc):
                raise
            if valid and jpeg.frame.marker not in HUFFMAN_CODED:
                message = (
                    "rare chroma sampling, coded without Huffman codes; convert it to baseline"
                )
                raise ValueError(message) from exc
            jpeg = rewrite_jpeg(data, walk=True)
            array = _decode_walked(jpeg, min_side)
    except ValueError as exc:
        raise exc if valid else reason from exc
    return array, jpeg.frame, not valid or jpeg.passed_over


def _decode_rewritten(jpeg: Rewritten, min_side: int | None) -> Pixels:
    frame = jpeg.frame
    side = None if frame.marker == LOSSLESS else min_side
    return _decode_strictly(jpeg.data, (frame.width, frame.height), _inks(frame), side)


def _decode_walked(jpeg: Rewritten, min_side: int | None) -> Pixels:
    """Decode what is known to be whole, with Pillow where the strict decoder cannot."""
    try:
        return _decode_rewritten(jpeg, min_side)
    except ValueError as exc:
        if _UNKNOWN_SAMPLING not in str(exc):
            raise
    with Image.open(io.BytesIO(jpeg.data), formats=("JPEG",)) as image:
        return to_rgb(image, bits=8)[0]


def _inks(frame: Frame) -> str:
    return _BY_COMPONENTS.get(len(frame.components), "RGB")


def _check_coding(frame: Frame) -> None:
    if frame.bits != 8:
        message = f"JPEG with {frame.bits} bits per channel is not read; convert it to 8 bits"
        raise DecodeError("unreadable", message)
    if len(frame.components) not in (1, 3, 4):
        message = f"JPEG of {len(frame.components)} channels is not read; convert it to RGB"
        raise DecodeError("unreadable", message)
    if frame.marker not in READ:
        message = f"JPEG of a rare kind (SOF{frame.marker - 0xC0}) is not read"
        raise DecodeError("unreadable", f"{message}; convert it to baseline or progressive")


def jpeg_orientation(data: bytes) -> int:
    """Return the orientation, 1 to 8; refuse a progressive stream with absurdly many scans."""
    exif: list[bytes] = []
    scans_from = len(data)  # of a progressive one
    for marker, start, end in jpeg_segments(data):
        if marker == APP1 and data.startswith(EXIF_START, start):
            exif.append(data[start + len(EXIF_START) : end])
        elif marker in (0xC2, 0xCA):
            scans_from = min(scans_from, end)
    scans = data.count(b"\xff\xda", scans_from)
    if scans > MAX_SCANS:
        raise DecodeError("unreadable", f"JPEG with {scans} scans; the limit is {MAX_SCANS}")
    return exif_orientation(b"".join(exif)) if exif else 1
