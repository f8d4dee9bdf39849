"""AVIF and HEIC, which share HEIF's container, for Pillow."""

import io
from typing import TYPE_CHECKING

from PIL import AvifImagePlugin, ImageFile

from model_repo.inception_v3.errors import DecodeError

try:
    import pillow_heif
    from pillow_heif.as_plugin import HeifImageFile
except ImportError:
    if not TYPE_CHECKING:
        pillow_heif = None
else:
    # At import, since the settings are global. One thread, since images are decoded side by side.
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = False
    pillow_heif.options.DEPTH_IMAGES = False
    pillow_heif.options.AUX_IMAGES = False
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

_HEADER_BYTES = 1 << 16  # where a decoder's configuration is


def open_heic(file: io.BytesIO) -> ImageFile.ImageFile:
    """Open a HEIC, upright; its EXIF block states the orientation that it had.

    Raises:
        DecodeError: what reads it is not installed.
    """
    if pillow_heif is None:
        message = (
            "HEIC is read with pillow-heif alone: pip install 'labelmill[heic]', or convert it"
        )
        raise DecodeError("unreadable", message)
    return HeifImageFile(file)


def heif_bits(data: bytes) -> int:
    """Return the bits per channel that the configuration of the AV1 or HEVC decoder states."""
    at = data.find(b"av1C", 0, _HEADER_BYTES)
    if at >= 0 and at + 7 <= len(data):
        return 8 + 2 * (data[at + 6] >> 6 & 1) + 2 * (data[at + 6] >> 5 & 1)
    at = data.find(b"hvcC", 0, _HEADER_BYTES)
    return 8 + (data[at + 21] & 7) if at >= 0 and at + 22 <= len(data) else 8
