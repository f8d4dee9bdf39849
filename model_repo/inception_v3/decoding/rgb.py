"""Pixels of any layout → uint8 [H, W, 3], RGB, upright. A part of `decode`; does not need torch.

It works in bands of rows, to keep small the copies that each of Pillow's steps makes.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from model_repo.inception_v3.errors import DecodeError
from model_repo.inception_v3.spec import Pixels

_BAND_PIXELS = 1 << 20

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_rgb(image: Image.Image, bits: int) -> tuple[Pixels, bool]:
    """Reduce any mode to uint8 [H, W, 3], alpha composed on white.

    Returns:
        The pixels, and whether some of them were not opaque.
    """
    array, see_through = np.empty((image.height, image.width, 3), np.uint8), False
    for rows in _bands(*image.size):
        band = image.crop((0, rows.start, image.width, rows.stop))
        array[rows], some = _band_to_rgb(band, bits)
        see_through |= some
    return array, see_through


def samples_to_rgb(samples: Pixels, mode: str) -> tuple[Pixels, bool]:
    """Do the same with uint8 [H, W, channels] that mean what `mode`, one of Pillow's, says."""
    height, width = samples.shape[:2]
    array, see_through = np.empty((height, width, 3), np.uint8), False
    for rows in _bands(width, height):
        size = (width, rows.stop - rows.start)
        band = Image.frombuffer(mode, size, samples[rows], "raw", mode, 0, 1)
        array[rows], some = _band_to_rgb(band, 8)
        see_through |= some
    return array, see_through


def _band_to_rgb(image: Image.Image, bits: int) -> tuple[Pixels, bool]:
    if image.mode.startswith("I;16"):
        return _reduce_wide_gray(image)
    if image.mode in ("I", "F"):
        found = f"pixels of mode {image.mode} ({bits} bits) have no defined range"
        raise DecodeError("unreadable", f"{found}; convert to 8 or 16 bits")
    if not image.has_transparency_data:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), False
    key = image.info.get("transparency")
    if image.mode == "RGB" and bits == 16 and isinstance(key, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in key)
    elif image.mode == "L" and bits < 8 and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2**bits - 1)
    if image.mode == "La":
        image = image.convert("LA")
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    if layer.getchannel("A").getextrema()[0] == 255:
        return np.asarray(layer.convert("RGB")), False
    canvas = Image.new("RGB", layer.size, "white")
    canvas.paste(layer, mask=layer)
    return np.asarray(canvas), True


def _reduce_wide_gray(image: Image.Image) -> tuple[Pixels, bool]:
    # The upper 8 bits, as Pillow does for RGB, so that a picture gets the same label either way.
    wide = np.asarray(image)
    gray = (wide >> 8).astype(np.uint8)
    key = image.info.get("transparency")
    clear = wide == key if isinstance(key, int) else np.False_
    gray[clear] = 255
    return np.repeat(gray[:, :, None], 3, axis=2), bool(clear.any())


def cmyk_to_rgb(inks: Pixels) -> Pixels:
    """Convert uint8 [H, W, 4] of inverted inks."""
    array = np.empty((*inks.shape[:2], 3), np.uint8)
    for rows in _bands(inks.shape[1], inks.shape[0]):
        size = (inks.shape[1], rows.stop - rows.start)
        # Inverted, as Adobe writes it and all readers assume.
        image = Image.frombuffer("CMYK", size, inks[rows], "raw", "CMYK;I", 0, 1)
        array[rows] = np.asarray(image.convert("RGB"))
    return array


def turn_upright(array: Pixels, orientation: int) -> Pixels:
    """Turn uint8 [H, W, 3] by its EXIF orientation, 2 to 8."""
    height, width = array.shape[:2]
    on_its_side, from_the_end = orientation >= 5, orientation in (3, 4, 6, 7)
    turned = np.empty((width, height, 3) if on_its_side else (height, width, 3), np.uint8)
    for rows in _bands(width, height):
        # Pillow turns three times faster than numpy copies a turned view.
        band = Image.fromarray(array[rows]).transpose(_UPRIGHT[orientation])
        place = slice(height - rows.stop, height - rows.start) if from_the_end else rows
        turned[(slice(None), place) if on_its_side else place] = np.asarray(band)
    return turned


def _bands(width: int, height: int) -> Iterator[slice]:
    step = max(1, _BAND_PIXELS // width)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))
