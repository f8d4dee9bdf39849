"""What Pillow decodes: all formats but JPEG and BMP, and TIFF in part."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from model_repo.inception_v3.decoding.decoded import Decoded, check_size, finish
from model_repo.inception_v3.decoding.exif import exif_orientation
from model_repo.inception_v3.decoding.heif import heic_is_turned, heif_bits, open_heic
from model_repo.inception_v3.decoding.jpeg2000 import codestream_header
from model_repo.inception_v3.decoding.png import check_png_rows, sift_png
from model_repo.inception_v3.decoding.rgb import to_rgb
from model_repo.inception_v3.decoding.tiff import ORIENTATION
from model_repo.inception_v3.decoding.webp import free_early, mend_webp, webp_size

# Opened by themselves, since `Image.open` hides why it cannot open something.
_OPEN: dict[str, Callable[[io.BytesIO], ImageFile]] = {
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
    "TIFF": TiffImageFile,
    "AVIF": AvifImageFile,
    "HEIC": open_heic,
    "JPEG 2000": Jpeg2KImageFile,
}

# What decoders raise on damaged input; UserWarning if the program turns warnings into errors.
DECODER_ERRORS = (
    *(OSError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError),
    *(SyntaxError, EOFError, BufferError, RuntimeError, MemoryError, UserWarning),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)

# At import, because both settings are global and no call could change them thread-safely.
# `max_pixels` replaces Pillow's own limit; odd metadata is common among millions of images.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@dataclass(slots=True)
class _Header:
    """What a file says beside its pixels."""

    data: bytes
    bits: int = 8
    orientation: int = 1
    flags: set[str] = field(default_factory=set)


def decode_with_pillow(data: bytes, kind: str, max_pixels: int) -> Decoded:
    """Decode an image of one of the formats above; see `decode_image`."""
    header = _read_header(data, kind, max_pixels)
    flags = header.flags
    with _OPEN[kind](io.BytesIO(header.data)) as image:
        check_size(*image.size, max_pixels)
        if isinstance(image, WebPImageFile):
            free_early(image)
        elif isinstance(image, TiffImageFile) and image.tag_v2.get(ORIENTATION) in range(2, 9):
            flags.add("exif_rotated")  # Pillow itself turns a TIFF when it loads it
        image.load()
        if image.mode == "CMYK":
            flags.add("cmyk")
        if header.bits > 8:
            flags.add("sixteen_bit")
        array, see_through = to_rgb(image, header.bits)
        if kind == "PNG" and (array[-1] == array[-1, 0]).all():
            check_png_rows(header.data)
        if see_through:
            flags.add("alpha")
        if kind in ("WebP", "AVIF"):
            header.orientation = exif_orientation(image.info.get("exif", b""))
        if _has_more_frames(image):
            flags.add("animated")
    return finish(array, (array.shape[1], array.shape[0]), header.orientation, flags)


def _read_header(data: bytes, kind: str, max_pixels: int) -> _Header:
    """Read what Pillow does not tell, or not before it allocates memory for it."""
    if kind == "PNG":
        png = sift_png(data)
        flags = {"animated"} if png.animated else set()
        flags |= {"repaired"} if png.repaired else set()
        return _Header(png.data, png.data[24], png.orientation, flags)
    header = _Header(data)
    if kind == "WebP":
        header.data = mend_webp(data)
        header.flags |= {"repaired"} if header.data is not data else set()
        check_size(*webp_size(header.data), max_pixels)
    elif kind in ("AVIF", "HEIC"):
        header.bits = heif_bits(data)
        if kind == "HEIC" and heic_is_turned(data):
            header.flags.add("exif_rotated")
    elif kind == "JPEG 2000":
        width, height, header.bits = codestream_header(data)
        check_size(width, height, max_pixels)
    return header


def _has_more_frames(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except DECODER_ERRORS:
        return True  # the second frame is damaged; only the first is used
