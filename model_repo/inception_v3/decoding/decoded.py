"""What decoding gives, whatever the format, and the limits that all formats have."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from model_repo.inception_v3.decoding.rgb import turn_upright
from model_repo.inception_v3.errors import DecodeError
from model_repo.inception_v3.spec import Pixels

MAX_PIXELS = 100_000_000
MAX_PARTS = 200_000  # chunks of a PNG, strips of a TIFF: each takes 100 bytes of memory or more
TINY_SIDE = 64
EXTREME_ASPECT = 4

# The possible `flags` of a row, in this order.
FLAGS = (
    "exif_rotated",  # the file's orientation was not 1 and was applied
    "alpha",  # some pixel was not opaque; composed on white
    "cmyk",
    "sixteen_bit",  # more than 8 bits per channel; the upper 8 are used
    "animated",  # more than one frame or page; the first is used
    "blank",  # the crop is nearly one colour
    "tiny",  # shorter side below TINY_SIDE
    "extreme_aspect",  # longer side above EXTREME_ASPECT times the shorter
    "repaired",  # damage that costs no pixel was passed over
)


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


def sort_flags(flags: Collection[str]) -> tuple[str, ...]:
    """Return `flags` in the order of FLAGS."""
    return tuple(flag for flag in FLAGS if flag in flags)


def check_size(width: int, height: int, max_pixels: int, *, of: str = "") -> None:
    """Refuse what has no pixels, or too many.

    Raises:
        DecodeError: `unreadable` or `too_large`.
    """
    if width < 1 or height < 1:
        raise DecodeError("unreadable", f"image of {width} x {height} pixels")
    if width * height > max_pixels:
        message = f"{of}{width} x {height} pixels exceed the limit of {max_pixels:,}"
        raise DecodeError("too_large", message)


def finish(array: Pixels, size: tuple[int, int], orientation: int, flags: set[str]) -> Decoded:
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
