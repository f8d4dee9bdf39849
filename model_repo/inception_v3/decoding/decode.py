"""Encoded bytes → upright 8-bit RGB, or a `DecodeError`; never anything else, whatever the bytes.

simplejpeg decodes JPEG, strictly: damage inside the stream is an error, not a grey area in the
picture. Pillow decodes the other formats. The first stage of `preprocess`; does not need torch.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from model_repo.inception_v3.decoding.headers import (
    ORIENTATION,
    check_png_chunks,
    check_tiff_tags,
    exif_orientation,
    image_format,
    jpeg_orientation,
    webp_size,
)
from model_repo.inception_v3.decoding.rgb import cmyk_to_rgb, to_rgb, turn_upright
from model_repo.inception_v3.errors import DecodeError
from model_repo.inception_v3.spec import Pixels

MAX_PIXELS = 100_000_000
TINY_SIDE = 64
EXTREME_ASPECT = 4

_BITS_PER_SAMPLE, _PHOTOMETRIC_INTERPRETATION = 258, 262  # TIFF tags

# The possible `flags` of a row, in this order.
FLAGS = (
    "exif_rotated",  # the file's orientation was not 1 and was applied
    "alpha",  # has an alpha channel or a transparent colour, composed on white
    "cmyk",
    "sixteen_bit",  # more than 8 bits per channel; the upper 8 are used
    "animated",  # more than one frame or page; the first is used
    "blank",  # the crop is nearly one colour
    "tiny",  # shorter side below TINY_SIDE
    "extreme_aspect",  # longer side above EXTREME_ASPECT times the shorter
)

# What decoders raise on damaged input; UserWarning if the program turns warnings into errors.
_DECODER_ERRORS = (
    *(OSError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError),
    *(SyntaxError, EOFError, BufferError, RuntimeError, MemoryError, UserWarning),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)

# At import, because both settings are global and no call could change them thread-safely.
# `max_pixels` replaces Pillow's own limit; odd metadata is common among millions of images.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """One decoded image.

    Attributes:
        array: uint8 [H, W, 3], RGB, upright, C-contiguous, writable; smaller than the original
            if a JPEG was decoded at 1/2, 1/4 or 1/8.
        width, height: of the original, upright, pixels.
        flags: from FLAGS, in its order.
    """

    array: Pixels
    width: int
    height: int
    flags: tuple[str, ...]


def decode_image(
    data: bytes, *, max_pixels: int = MAX_PIXELS, min_side: int | None = None
) -> Decoded:
    """Decode one encoded image to upright RGB.

    Args:
        data: JPEG, PNG, WebP, GIF, BMP or TIFF, recognised by its first bytes.
        max_pixels: larger images are refused before they are decoded.
        min_side: a JPEG may be decoded at 1/2, 1/4 or 1/8 while its shorter side keeps this many
            pixels; None decodes at full size.

    Raises:
        DecodeError: `unreadable` or `too_large`.
    """
    kind = image_format(data)
    try:
        if kind == "JPEG":
            return _decode_jpeg(data, max_pixels, min_side)
        return _decode_with_pillow(data, kind, max_pixels)
    except _DECODER_ERRORS as exc:
        raise DecodeError("unreadable", f"{kind} cannot be decoded: {_reason(exc)}") from exc


def sort_flags(flags: Collection[str]) -> tuple[str, ...]:
    """Return `flags` in the order of FLAGS."""
    return tuple(flag for flag in FLAGS if flag in flags)


def _reason(exc: BaseException) -> str:
    if isinstance(exc, UnidentifiedImageError):
        return "damaged header or unsupported pixel layout; convert to 8- or 16-bit RGB"
    if isinstance(exc, MemoryError):
        return "out of memory"
    text = str(exc).strip() or type(exc).__name__
    return text.splitlines()[0][:200].rstrip(".")


def _check_size(width: int, height: int, max_pixels: int, *, of: str = "") -> None:
    if width < 1 or height < 1:
        raise DecodeError("unreadable", f"image of {width} x {height} pixels")
    if width * height > max_pixels:
        message = f"{of}{width} x {height} pixels exceed the limit of {max_pixels:,}"
        raise DecodeError("too_large", message)


def _finish(array: Pixels, size: tuple[int, int], orientation: int, flags: set[str]) -> Decoded:
    """Turn the array upright; `size` is the original's width and height before that."""
    if orientation != 1:
        flags.add("exif_rotated")
        array = turn_upright(array, orientation)
    width, height = size[::-1] if orientation >= 5 else size
    short, long = sorted((width, height))
    if short < TINY_SIDE:
        flags.add("tiny")
    if long > EXTREME_ASPECT * short:
        flags.add("extreme_aspect")
    return Decoded(np.require(array, requirements=["C", "W"]), width, height, sort_flags(flags))


def _decode_jpeg(data: bytes, max_pixels: int, min_side: int | None) -> Decoded:
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as exc:
        message = "JPEG cannot be decoded: damaged header or unsupported chroma subsampling"
        raise DecodeError("unreadable", message) from exc
    _check_size(width, height, max_pixels)
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
    return _finish(array, (width, height), orientation, flags)


def _check_headers(data: bytes, kind: str, max_pixels: int) -> None:
    """Check the sizes for which Pillow would allocate memory before it tells them."""
    if kind == "WEBP":
        _check_size(*webp_size(data), max_pixels)
    elif kind == "PNG":
        check_png_chunks(data)
    elif kind == "TIFF":
        _check_size(*check_tiff_tags(data), max_pixels, of="tiles of ")


def _decode_with_pillow(data: bytes, kind: str, max_pixels: int) -> Decoded:
    _check_headers(data, kind, max_pixels)
    flags: set[str] = set()
    bits, white_is_zero, orientation = 8, False, 1
    with Image.open(io.BytesIO(data), formats=(kind,)) as image:
        _check_size(*image.size, max_pixels)
        if kind == "PNG":
            bits = data[24]
        elif isinstance(image, WebPImageFile):
            _free_early(image)
        elif isinstance(image, TiffImageFile):
            bits = max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,)))
            white_is_zero = image.tag_v2.get(_PHOTOMETRIC_INTERPRETATION) == 0
            if image.tag_v2.get(ORIENTATION) in range(2, 9):
                flags.add("exif_rotated")  # Pillow itself turns a TIFF when it loads it
        image.load()
        if image.mode == "CMYK":
            flags.add("cmyk")
        if bits > 8:
            flags.add("sixteen_bit")
        if image.has_transparency_data:
            flags.add("alpha")
        array = to_rgb(image, bits, white_is_zero)
        if kind in ("PNG", "WEBP"):
            orientation = exif_orientation(image.info.get("exif", b""))
        if _has_more_frames(image):
            flags.add("animated")
    return _finish(array, (array.shape[1], array.shape[0]), orientation, flags)


def _free_early(image: WebPImageFile) -> None:
    """Make Pillow free libwebp's canvases before it allocates its own image."""

    def prepare() -> None:
        image._decoder = None
        WebPImageFile.load_prepare(image)

    image.load_prepare = prepare  # type: ignore[method-assign]


def _has_more_frames(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except _DECODER_ERRORS:
        return True  # the second frame is damaged; only the first is used
