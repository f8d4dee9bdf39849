"""The benchmarks' own JPEGs: ImageNet's sizes and compression, and a phone's.

They are seeded. Decoding costs what pixels and bytes cost, so both are as in the originals:
ImageNet's photos are mostly 500 pixels wide with 0.6 bytes per pixel (110 KB), a phone's have
12 million pixels with 0.3 bytes for each (3.5 MB).
"""

import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from tests.support.images import encode, photo

# Width, height, and how many of 20 photos have them, as in ImageNet's validation set, roughly.
_IMAGENET_SIZES = (
    *[(500, 375)] * 9,
    *[(500, 333)] * 4,
    *[(375, 500)] * 3,
    *[(333, 500), (500, 500), (640, 480), (1200, 900)],
)
# So many files are made anew; in larger sets they come again under other names.
_DIFFERENT = 100


def make_photo(width: int, height: int, seed: int = 0, *, grain: float = 24) -> bytes:
    """Return a JPEG with a photo's texture; the grain decides how many bytes it has."""
    noise = np.random.default_rng(seed).normal(0, grain, (height, width, 1))
    pixels = np.clip(photo(width, height, seed) + noise, 0, 255).astype(np.uint8)
    return encode(pixels, "JPEG", quality=90)


def make_phone_photo(seed: int = 0) -> bytes:
    """Return a JPEG as a phone makes it: 4000 x 3000 pixels, 3 to 4 MB."""
    return make_photo(4000, 3000, seed, grain=5)


@cache
def imagenet_photos(count: int) -> list[bytes]:
    """Return so many photos of ImageNet's sizes, at most 100 of them different."""
    sizes = itertools.cycle(_IMAGENET_SIZES)
    made = [make_photo(*next(sizes), seed) for seed in range(min(count, _DIFFERENT))]
    return list(itertools.islice(itertools.cycle(made), count))


def named_photos(count: int) -> Iterator[tuple[str, bytes]]:
    """Yield so many names with their photos, in a thorough mix of sizes."""
    photos = imagenet_photos(count)
    for number, place in enumerate(np.random.default_rng(0).permutation(count)):
        yield f"{number:06d}.jpg", photos[place]


def write_photos(folder: Path, count: int) -> Path:
    """Fill a new folder with so many photos; return it."""
    folder.mkdir(parents=True)
    for name, data in named_photos(count):
        (folder / name).write_bytes(data)
    return folder
