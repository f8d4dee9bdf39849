"""All formats but JPEG, which Pillow decodes."""

import io
import struct
import warnings
import zlib

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from model_repo.inception_v3.decoding.decoded import Decoded, check_size, finish
from model_repo.inception_v3.decoding.exif import exif_orientation
from model_repo.inception_v3.decoding.png import check_png_chunks
from model_repo.inception_v3.decoding.rgb import to_rgb
from model_repo.inception_v3.decoding.tiff import ORIENTATION, check_tiff_tags
from model_repo.inception_v3.decoding.webp import free_early, webp_size

_BITS_PER_SAMPLE, _PHOTOMETRIC_INTERPRETATION = 258, 262  # TIFF tags

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


def decode_with_pillow(data: bytes, kind: str, max_pixels: int) -> Decoded:
    """Decode an image of any format but JPEG; see `decode_image`."""
    _check_headers(data, kind, max_pixels)
    flags: set[str] = set()
    bits, white_is_zero, orientation = 8, False, 1
    with Image.open(io.BytesIO(data), formats=(kind,)) as image:
        check_size(*image.size, max_pixels)
        if kind == "PNG":
            bits = data[24]
        elif isinstance(image, WebPImageFile):
            free_early(image)
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
    return finish(array, (array.shape[1], array.shape[0]), orientation, flags)


def _check_headers(data: bytes, kind: str, max_pixels: int) -> None:
    """Check the sizes for which Pillow would allocate memory before it tells them."""
    if kind == "WEBP":
        check_size(*webp_size(data), max_pixels)
    elif kind == "PNG":
        check_png_chunks(data)
    elif kind == "TIFF":
        check_size(*check_tiff_tags(data), max_pixels, of="tiles of ")


def _has_more_frames(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except DECODER_ERRORS:
        return True  # the second frame is damaged; only the first is used
