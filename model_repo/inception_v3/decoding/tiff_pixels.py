"""TIFF, of which Pillow reads some layouts wrongly and others not at all."""

import numpy as np
from PIL import TiffImagePlugin

from model_repo.inception_v3.decoding import tiff_samples
from model_repo.inception_v3.decoding.decoded import Decoded, check_size, finish
from model_repo.inception_v3.decoding.pillow import decode_with_pillow
from model_repo.inception_v3.decoding.rgb import samples_to_rgb
from model_repo.inception_v3.decoding.tiff import check_tiff_tags
from model_repo.inception_v3.decoding.tiff_layout import (
    BLACK_IS_ZERO,
    CMYK,
    PALETTE,
    PREMULTIPLIED,
    RGB,
    WHITE_IS_ZERO,
    TiffLayout,
    read_layout,
)
from model_repo.inception_v3.errors import DecodeError
from model_repo.inception_v3.spec import Pixels

_FAX_OR_JPEG = (2, 3, 4, 6, 7)  # compressions that Pillow reads
_COMPRESSIONS = {
    50001: "WebP",
    34712: "JPEG 2000",
    34892: "lossy JPEG",
    34887: "LERC",
    50002: "JPEG XL",
} | {
    32809: "ThunderScan",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34676: "SGI Log",
    34677: "SGI Log",
}
_YCBCR_OR_LAB = (6, 8)  # photometric interpretations that Pillow reads
_PHOTOMETRICS = {4: "mask", 9: "ICC Lab", 10: "ITU Lab", 32844: "LogL", 32845: "LogLuv"} | {
    32803: "camera raw",
    34892: "camera raw",
}
# Of all strips and tiles: some channels more than are used, and the padding of small pictures.
_BYTES_PER_PIXEL, _FREE_PIXELS = 64, 1 << 20
_FORMATS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_MODES = {WHITE_IS_ZERO: "L", BLACK_IS_ZERO: "L", RGB: "RGB", PALETTE: "RGB", CMYK: "CMYK"}

# At import, since the setting is global: Pillow itself reads some uncompressed layouts wrongly.
TiffImagePlugin.READ_LIBTIFF = True


def decode_tiff(data: bytes, max_pixels: int) -> Decoded:
    """Decode the first page of a TIFF; see `decode_image`."""
    check_size(*check_tiff_tags(data), max_pixels, of="tiles of ")
    layout = read_layout(data)
    check_size(layout.width, layout.height, max_pixels)
    _check_range(layout)
    _check_layout(layout)
    if layout.compression in _FAX_OR_JPEG or layout.photometric in _YCBCR_OR_LAB:
        return decode_with_pillow(data, "TIFF", max_pixels)
    most = min(8 * max_pixels, _BYTES_PER_PIXEL * (layout.width * layout.height + _FREE_PIXELS))
    if layout.decompressed_bytes > most:
        size = f"{layout.decompressed_bytes:,} bytes"
        message = f"TIFF whose strips or tiles hold {size}, more than its pixels need or the limit"
        raise DecodeError("too_large", message)
    samples = tiff_samples.read_samples(data, layout)
    array, see_through = _to_rgb(samples, layout)
    flags = {
        name
        for name, is_so in (
            ("alpha", see_through),
            ("cmyk", layout.photometric == CMYK),
            ("sixteen_bit", layout.bits > 8),
            ("animated", layout.has_more_pages),
        )
        if is_so
    }
    return finish(array, (layout.width, layout.height), layout.orientation, flags)


def _to_rgb(samples: Pixels, layout: TiffLayout) -> tuple[Pixels, bool]:
    if layout.photometric == WHITE_IS_ZERO:
        np.invert(samples[:, :, 0], out=samples[:, :, 0])
    if layout.photometric == PALETTE:
        colors = np.array(layout.palette, np.uint16)[: 3 << layout.bits].reshape(3, -1).T
        # Some write 8 bits where TIFF wants 16.
        narrow = (colors if colors.max() < 256 else colors >> 8).astype(np.uint8)
        indexed = np.take(narrow, samples[:, :, 0], axis=0)
        samples = indexed if layout.alpha is None else np.dstack([indexed, samples[:, :, 1]])
    mode = _MODES[layout.photometric]
    if layout.alpha is not None:
        mode += "a" if layout.extra[layout.alpha - layout.colors] == PREMULTIPLIED else "A"
    return (samples, False) if mode == "RGB" else samples_to_rgb(samples, mode)


def _check_range(layout: TiffLayout) -> None:
    odd = [kind for kind in layout.formats if kind not in (1, 4)]
    if odd or layout.bits > 16:
        kind = _FORMATS.get(odd[0], f"type {odd[0]}") if odd else "unsigned"
        found = f"TIFF pixels that are {kind} numbers of {layout.bits} bits"
        message = f"{found} have no defined range; convert to 8 or 16 bits"
        raise DecodeError("unreadable", message)


def _check_layout(layout: TiffLayout) -> None:
    """Refuse by name what would come out wrong."""
    found = None
    compression, photometric = layout.compression, layout.photometric
    if compression not in (*tiff_samples.READ, *_FAX_OR_JPEG):
        found = f"compression {compression} ({_COMPRESSIONS.get(compression, 'unknown')})"
    elif photometric not in (*_MODES, *_YCBCR_OR_LAB):
        found = f"pixels of kind {photometric} ({_PHOTOMETRICS.get(photometric, 'unknown')})"
    elif layout.samples < len(layout.channels) or layout.bits < 1:
        found = f"{layout.samples} channels of {layout.bits} bits"
    elif photometric == PALETTE and (layout.bits > 8 or len(layout.palette) < 3 << layout.bits):
        found = f"{len(layout.palette)} values in the palette of {layout.bits}-bit pixels"
    elif layout.predictor != 1 and (layout.predictor != 2 or layout.bits not in (8, 16)):
        found = f"predictor {layout.predictor} for {layout.bits} bits"
    if found:
        raise DecodeError("unreadable", f"TIFF with {found} is not read; convert it to 8-bit RGB")
