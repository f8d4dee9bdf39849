import io
import resource
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.models import Inception_V3_Weights
from torchvision.transforms import functional

from model_repo.inception_v3.errors import DecodeError
from model_repo.inception_v3.preprocess import preprocess
from model_repo.inception_v3.spec import INCEPTION_V3
from tests.support.images import encode, photo, png_chunk, png_header
from tests.support.work import calls_made

PRESET = Inception_V3_Weights.IMAGENET1K_V1.transforms()


def reference(image):
    """Return what torchvision's preset makes of a Pillow image, before it normalises."""
    resized = functional.resize(image.convert("RGB"), PRESET.resize_size, PRESET.interpolation)
    return functional.pil_to_tensor(functional.center_crop(resized, PRESET.crop_size)).numpy()


def difference(data, image=None):
    """Return the mean and the largest difference to the reference, in levels of 255."""
    expected = reference(image or Image.open(io.BytesIO(data)))
    distance = np.abs(preprocess(data).pixels.astype(int) - expected)
    return distance.mean(), distance.max()


def test_reference_is_the_preset():
    image = Image.fromarray(photo(500, 375))

    scaled = torch.from_numpy(reference(image)).float() / 255
    normalised = functional.normalize(scaled, PRESET.mean, PRESET.std)

    torch.testing.assert_close(normalised, PRESET(image))
    assert (PRESET.resize_size, PRESET.crop_size) == ([342], [299])


@pytest.mark.parametrize(
    "size",
    [
        *[(500, 375), (375, 500), (400, 400), (683, 800), (1200, 900), (342, 500), (299, 299)],
        # Simple ratios, where sums end on .5 and rounding shows.
        *[(640, 427), (427, 640), (640, 480), (480, 360), (360, 640), (1024, 683), (608, 608)],
        *[(1020, 722), (1254, 1254), (1280, 720), (180, 180)],
        *[(340, 325), (1088, 353), (496, 336), (570, 333), (702, 702), (500, 333)],
    ],
)
def test_preprocess_equals_the_preset_on_jpeg_that_needs_no_scaling(size):
    mean, largest = difference(encode(photo(*size), "JPEG", quality=90))

    assert mean <= 0.01
    assert largest <= 2


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 4), (20, 30), (100, 75), (298, 300)])
def test_preprocess_enlarges_as_the_preset(size):
    mean, largest = difference(encode(photo(*size), "PNG"))

    assert mean <= 0.05
    assert largest <= 1


@pytest.mark.parametrize(
    "size",
    [(300, 3000), (3000, 300), (5, 400), (400, 5), (1, 2000), (401, 100), (7, 29), (33, 1000)],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_preprocess_equals_the_preset_on_extreme_aspects(size, kind):
    data = encode(photo(*size), kind)

    mean, largest = difference(data)

    assert mean <= 0.02
    assert largest <= 2
    assert "extreme_aspect" in preprocess(data).flags


@pytest.mark.parametrize("size", [(4600, 4108), (4109, 4777), (4104, 4104)])
def test_preprocess_of_a_scaled_jpeg_stays_close_to_the_preset(size):
    mean, largest = difference(encode(photo(*size), "JPEG", quality=90))

    assert 0 < mean <= 0.2
    assert largest <= 20  # at the hard edges of the discs


def test_preprocess_scales_a_jpeg_of_extreme_aspect_too(small_spec):
    data = encode(photo(6500, 1540), "JPEG", quality=90)
    whole = encode(Image.open(io.BytesIO(data)), "BMP")

    pixels = preprocess(data, small_spec).pixels.astype(int)

    assert 0 < np.abs(pixels - preprocess(whole, small_spec).pixels).mean() <= 0.6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_preprocess_crops_the_upright_image(orientation, kind):
    data = encode(photo(500, 375), kind, orientation=orientation)

    mean, largest = difference(data, ImageOps.exif_transpose(Image.open(io.BytesIO(data))))

    assert mean <= 0.01
    assert largest <= 2


def test_preprocess_describes_the_original():
    result = preprocess(encode(photo(1600, 1400), "JPEG", orientation=6))

    assert (result.width, result.height, result.flags) == (1400, 1600, ("exif_rotated",))
    assert result.pixels.shape == (3, 299, 299)
    assert result.pixels.dtype == np.uint8
    assert result.pixels.flags.c_contiguous


def test_preprocess_follows_the_spec():
    spec = replace(INCEPTION_V3, resize_size=256, crop_size=224)
    image = Image.fromarray(photo(500, 375))
    resized = functional.resize(image, [256])
    expected = functional.pil_to_tensor(functional.center_crop(resized, [224])).numpy()

    pixels = preprocess(encode(image, "PNG"), spec).pixels

    assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_preprocess_flags_blank(kind):
    noise = np.random.default_rng(0).integers(-2, 3, (300, 400, 3))
    data = encode((200 + noise).astype(np.uint8), kind)

    assert preprocess(data).flags == ("blank",)


def test_preprocess_flags_blank_where_only_the_crop_is():
    array = np.full((400, 1000, 3), 90, np.uint8)
    array[:, :100] = photo(100, 400)

    assert preprocess(encode(array, "PNG")).flags == ("blank",)


def test_preprocess_does_not_flag_one_small_thing_on_white():
    array = np.full((342, 342, 3), 255, np.uint8)
    array[201:205, 203:207] = 0  # between the points of the coarse grid

    assert preprocess(encode(array, "PNG")).flags == ()


def test_preprocess_orders_blank_among_the_flags():
    image = Image.new("RGBA", (10, 50), (1, 2, 3, 254))

    assert preprocess(encode(image, "PNG")).flags == ("alpha", "blank", "tiny", "extreme_aspect")


@pytest.mark.parametrize("size", [(1, 1_000_000), (1_000_000, 1), (60_000, 10)])
def test_preprocess_of_a_long_strip_takes_little_memory(size):
    data = encode(Image.new("RGB", size, (9, 8, 7)), "PNG")
    preprocess(encode(photo(50, 50), "PNG"))
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    result = preprocess(data)

    # Resized as a whole, the first would take 351 GB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 200_000
    assert (result.pixels == np.array([9, 8, 7])[:, None, None]).all()
    assert (result.width, result.height) == size


def test_preprocess_puts_a_very_long_strip_on_the_right_grid():
    # Pillow's float32 boxes cannot place half a pixel beyond 8 million.
    array = np.zeros((1, 20_000_000, 3), np.uint8)
    middle = 10_000_000
    array[0, middle] = 255

    row = preprocess(encode(Image.fromarray(array), "PNG", compress_level=1)).pixels[0, 0]

    # One source pixel is 342 wide and starts at the middle of the crop, 149.5.
    ramp = np.clip((np.arange(299) + 0.5 - 149.5 + 171) / 342, 0, 1) * 255
    assert np.abs(row - ramp).max() <= 2


def test_preprocess_refuses_a_strip_without_pixels_at_once():
    data = png_header(1, 99_000_000) + png_chunk(b"IDAT", b"")

    def refuse():
        with pytest.raises(DecodeError):
            preprocess(data)

    assert calls_made(refuse) < 5000  # not one for each of its rows


def test_preprocess_hands_max_pixels_on():
    with pytest.raises(DecodeError) as caught:
        preprocess(encode(photo(50, 40), "PNG"), max_pixels=1999)

    assert caught.value.kind == "too_large"


def test_preprocess_gives_the_same_in_many_threads_and_leaves_torch_alone():
    images = [encode(photo(300 + 40 * i, 280, seed=i), "JPEG") for i in range(8)]
    threads = torch.get_num_threads()
    alone = [preprocess(data).pixels for data in images]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(preprocess, images * 3))

    for number, result in enumerate(together):
        np.testing.assert_array_equal(result.pixels, alone[number % 8])
    assert torch.get_num_threads() == threads
