"""Encoded bytes → uint8 pixels, the network's input. Jobs and the service both use this.

The geometry is torchvision's `Inception_V3_Weights.IMAGENET1K_V1.transforms()`, on the upright
image. Normalisation happens on the device.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from model_repo.inception_v3.decoding.decode import decode_image
from model_repo.inception_v3.decoding.decoded import MAX_PIXELS, Decoded, sort_flags
from model_repo.inception_v3.spec import INCEPTION_V3, ModelSpec, Pixels

# A crop whose channels each stay within this many levels is blank; compression leaves some noise.
BLANK_RANGE = 8
# A JPEG is scaled while it is decoded if its shorter side keeps so many times the pixels that the
# resize needs. With 280 photos of 3 to 24 MP and eight classifiers on a trained network, a score
# changes by up to 0.25 with 2, 0.13 with 3 or 4, and 0.032 with 5; decoding takes 13, 16, 17 and
# 19 ms. With 6 all of them are decoded in full, in 21 ms; only what is larger is scaled.
JPEG_MARGIN = 6
_PIXEL = b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


@dataclass(frozen=True, slots=True, eq=False)
class Preprocessed:
    """One image, ready to be batched.

    Attributes:
        pixels: uint8 [3, crop_size, crop_size], RGB, C-contiguous.
        width, height: of the original, upright, pixels.
        flags: from `decoded.FLAGS`, in its order.
    """

    pixels: Pixels
    width: int
    height: int
    flags: tuple[str, ...]


def preprocess(
    data: bytes, spec: ModelSpec = INCEPTION_V3, *, max_pixels: int = MAX_PIXELS
) -> Preprocessed:
    """Decode, resize and crop one encoded image.

    Thread-safe; the caller sets how many threads torch uses.

    Raises:
        DecodeError: the bytes cannot be labelled; see `decode_image`.
    """
    decoded = decode_image(data, max_pixels=max_pixels, min_side=JPEG_MARGIN * spec.resize_size)
    if "extreme_aspect" in decoded.flags:
        pixels = _crop_then_resize(decoded, spec)
    else:
        pixels = _resize_then_crop(decoded, spec)
    flags = decoded.flags
    if _is_blank(pixels):
        flags = sort_flags({*flags, "blank"})
    return Preprocessed(pixels, decoded.width, decoded.height, flags)


def warm_up(spec: ModelSpec) -> None:
    """Load what the first image would otherwise wait for, more than a second."""
    preprocess(_PIXEL, spec)


def _resized_size(decoded: Decoded, resize_size: int) -> tuple[int, int]:
    """Return height and width after the resize, computed from the original's size."""
    short, long = sorted((decoded.width, decoded.height))
    resized_long = int(resize_size * long / short)
    if decoded.width <= decoded.height:
        return resized_long, resize_size
    return resize_size, resized_long


def _crop_start(resized: int, crop_size: int) -> int:
    return round((resized - crop_size) / 2)  # half to even, as torchvision


def _resize_then_crop(decoded: Decoded, spec: ModelSpec) -> Pixels:
    height, width = _resized_size(decoded, spec.resize_size)
    source_height, source_width = decoded.array.shape[:2]
    if _has_ties((source_height, height), (source_width, width)):
        image = Image.fromarray(decoded.array)
        resized = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    else:
        resized = _resize_fast(decoded.array, height, width)
    top, left = _crop_start(height, spec.crop_size), _crop_start(width, spec.crop_size)
    crop = resized[top : top + spec.crop_size, left : left + spec.crop_size]
    return np.ascontiguousarray(crop.transpose(2, 0, 1))


def _resize_fast(array: Pixels, height: int, width: int) -> Pixels:
    """Resize uint8 [H, W, 3], two to four times as fast as Pillow."""
    # Here, because much of a job runs without resizing anything.
    import torch  # noqa: PLC0415

    image = torch.from_numpy(array).permute(2, 0, 1).unsqueeze(0)
    resized = torch.nn.functional.interpolate(
        image, (height, width), mode="bilinear", align_corners=False, antialias=True
    )
    return resized[0].permute(1, 2, 0).numpy()


def _has_ties(*axes: tuple[int, int]) -> bool:
    """Say whether many resized values fall exactly between two levels; axes are (source, resized).

    They do when the ratio is a simple fraction. torchvision's preset rounds them as Pillow does;
    the fast path, with coarser weights, would get up to 6 % of the values wrong by one level. The
    bounds come from trying thousands of sizes; beyond them it is less than 1 %.
    """
    denominators = [resized // math.gcd(source, resized) for source, resized in axes]
    simple = [denominator for denominator in denominators if denominator > 1]
    scale = axes[0][0] / axes[0][1]
    if 0.9 < scale < 1.1:
        return any(d <= 37 for d in simple) or (len(simple) > 1 and max(simple) <= 64)
    return any(d <= (18 if scale > 2.1 else 20) for d in simple)


def _crop_then_resize(decoded: Decoded, spec: ModelSpec) -> Pixels:
    """Resize only what the crop shows, on the grid of the whole; a 10 x 60000 strip stays small."""
    source_height, source_width = decoded.array.shape[:2]
    height, width = _resized_size(decoded, spec.resize_size)
    top, bottom, y0, y1 = _source_span(source_height, height, spec.crop_size)
    left, right, x0, x1 = _source_span(source_width, width, spec.crop_size)
    region = Image.fromarray(np.ascontiguousarray(decoded.array[top:bottom, left:right]))
    crop = region.resize(
        (spec.crop_size, spec.crop_size), Image.Resampling.BILINEAR, box=(x0, y0, x1, y1)
    )
    return np.ascontiguousarray(np.asarray(crop).transpose(2, 0, 1))


def _source_span(source: int, resized: int, crop_size: int) -> tuple[int, int, float, float]:
    """Return, along one axis, which pixels the crop needs and the crop's edges within them."""
    scale = source / resized
    first = _crop_start(resized, crop_size) * scale
    last = min(first + crop_size * scale, source)
    margin = math.ceil(max(scale, 1.0)) + 1  # the bilinear filter reaches `scale` past an edge
    start = max(math.floor(first) - margin, 0)
    stop = min(math.ceil(last) + margin, source)
    # Relative to `start`, because Pillow stores a box in float32.
    return start, stop, first - start, last - start


def _is_blank(pixels: Pixels) -> bool:
    # A coarse grid decides for almost every picture.
    for view in (pixels[:, ::16, ::16], pixels):
        spread = view.max(axis=(1, 2)).astype(int) - view.min(axis=(1, 2))
        if spread.max() > BLANK_RANGE:
            return False
    return True
