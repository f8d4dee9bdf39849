"""Pictures to decode, and what they are compared with."""

import numpy as np

from tests.support.images import encode, photo

PHOTO = photo(96, 72)
OTHER = photo(96, 72, seed=1)
ALPHA = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (72, 1))
WIDE = np.random.default_rng(0).integers(0, 65_536, (40, 50, 4))
WIDE[0, 0], WIDE[0, 1] = 0, 65_535
LOSSLESS = ("PNG", "BMP", "TIFF", "WEBP")


def lossless(array, kind, **options):
    if kind == "WEBP":
        options |= {"lossless": True, "exact": True}
    return encode(array, kind, **options)


def on_white(rgb, alpha):
    """Compose [H, W, 3] on white by an alpha of [H, W], 0 to 255."""
    alpha = alpha[:, :, None].astype(float)
    return rgb * alpha / 255 + 255 - alpha


def assert_close(array, expected, tolerance):
    assert array.shape == expected.shape
    assert np.abs(array.astype(float) - expected).max() <= tolerance
