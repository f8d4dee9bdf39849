"""AVIF and HEIC, which share HEIF's container, for Pillow."""

import io

from PIL import AvifImagePlugin, ImageFile

from model_repo.inception_v3.errors import DecodeError

try:
    from pillow_heif import HeifImageFile, options
except ImportError:
    READS_HEIC = False
else:
    READS_HEIC = True
    # At import, since the settings are global. One thread, since images are decoded side by side.
    options.DECODE_THREADS = 1
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

_HEADER_BYTES = 1 << 16  # where a decoder's configuration is


def open_heic(file: io.BytesIO) -> ImageFile.ImageFile:
    """Open a HEIC, which will be upright when it is loaded.

    Raises:
        DecodeError: what reads it is not installed.
    """
    if not READS_HEIC:
        message = (
            "HEIC is read with pillow-heif alone: pip install 'labelmill[heic]', or convert it"
        )
        raise DecodeError("unreadable", message)
    image: ImageFile.ImageFile = HeifImageFile(file)  # type: ignore[no-untyped-call]
    return image


def heif_bits(data: bytes) -> int:
    """Return the bits per channel that the configuration of the AV1 or HEVC decoder states."""
    at = data.find(b"av1C", 0, _HEADER_BYTES)
    if at >= 0 and at + 7 <= len(data):
        return 8 + 2 * (data[at + 6] >> 6 & 1) + 2 * (data[at + 6] >> 5 & 1)
    at = data.find(b"hvcC", 0, _HEADER_BYTES)
    return 8 + (data[at + 21] & 7) if at >= 0 and at + 22 <= len(data) else 8


def heic_is_turned(data: bytes) -> bool:
    """Tell whether the container turns or mirrors an image; EXIF has no say in HEIC."""
    turn = data.find(b"irot", 0, _HEADER_BYTES)
    turned = turn >= 0 and data[turn + 4 : turn + 5] not in (b"", b"\0")
    return turned or data.find(b"imir", 0, _HEADER_BYTES) >= 0
