"""Encoded bytes → upright 8-bit RGB, or a `DecodeError`; never anything else, whatever the bytes.

The first stage of `preprocess`; does not need torch.
"""

from PIL import UnidentifiedImageError

from model_repo.inception_v3.decoding.decoded import MAX_PIXELS, Decoded
from model_repo.inception_v3.decoding.formats import image_format
from model_repo.inception_v3.decoding.jpeg import decode_jpeg
from model_repo.inception_v3.decoding.pillow import DECODER_ERRORS, decode_with_pillow
from model_repo.inception_v3.errors import DecodeError


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
            return decode_jpeg(data, max_pixels, min_side)
        return decode_with_pillow(data, kind, max_pixels)
    except DECODER_ERRORS as exc:
        raise DecodeError("unreadable", f"{kind} cannot be decoded: {_reason(exc)}") from exc


def _reason(exc: BaseException) -> str:
    if isinstance(exc, UnidentifiedImageError):
        return "damaged header or unsupported pixel layout; convert to 8- or 16-bit RGB"
    if isinstance(exc, MemoryError):
        return "out of memory"
    text = str(exc).strip() or type(exc).__name__
    return text.splitlines()[0][:200].rstrip(".")
