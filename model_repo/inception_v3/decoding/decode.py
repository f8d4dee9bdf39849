"""Encoded bytes → upright 8-bit RGB, or a `DecodeError`; never anything else, whatever the bytes.

The first stage of `preprocess`; does not need torch.
"""

import struct

from model_repo.inception_v3.decoding.bmp import decode_bmp
from model_repo.inception_v3.decoding.decoded import MAX_PIXELS, Decoded
from model_repo.inception_v3.decoding.formats import image_format
from model_repo.inception_v3.decoding.jpeg import decode_jpeg
from model_repo.inception_v3.decoding.pillow import DECODER_ERRORS, decode_with_pillow
from model_repo.inception_v3.decoding.tiff_pixels import decode_tiff
from model_repo.inception_v3.errors import DecodeError


def decode_image(
    data: bytes, *, max_pixels: int = MAX_PIXELS, min_side: int | None = None
) -> Decoded:
    """Decode one encoded image to upright RGB.

    Args:
        data: of one of the formats that are read, recognised by its first bytes.
        max_pixels: larger images are refused before they are decoded.
        min_side: a JPEG may be decoded at 1/2, 1/4 or 1/8 while its shorter side keeps this many
            pixels; None decodes at full size.

    Raises:
        DecodeError: `not_an_image`, `unreadable` or `too_large`.
    """
    kind = image_format(data)
    try:
        if kind == "JPEG":
            return decode_jpeg(data, max_pixels, min_side)
        if kind == "BMP":
            return decode_bmp(data, max_pixels)
        if kind == "TIFF":
            return decode_tiff(data, max_pixels)
        return decode_with_pillow(data, kind, max_pixels)
    except DECODER_ERRORS as exc:
        raise DecodeError("unreadable", f"{kind} cannot be decoded: {_reason(exc)}") from exc


def _reason(exc: BaseException) -> str:
    if isinstance(exc, MemoryError):
        return "out of memory"
    text = str(exc).strip() or type(exc).__name__
    text = text.splitlines()[0][:200].rstrip(".")
    if isinstance(exc.__cause__ or exc, struct.error | IndexError | EOFError):
        return f"cut short ({text})"
    if text.startswith("decoder error"):
        return f"damaged data ({text})"
    return text
