import numpy as np
import pytest

from serving.errors import BadRequestError
from serving.protocol.inputs import read_images, read_pixels
from serving.protocol.tensors import InferRequest, Tensor


def pixel_request(array: np.ndarray, datatype: str = "UINT8", name: str = "pixels"):
    return InferRequest(inputs=(Tensor(name, datatype, array.shape, array),))


def image_request(*images: bytes, shape: tuple | None = None, name: str = "image"):
    return InferRequest(inputs=(Tensor(name, "BYTES", shape or (len(images), 1), list(images)),))


# --- pixels ---------------------------------------------------------------------------------------


def test_uint8_pixels_are_taken_as_they_are(config, pixels):
    assert read_pixels(pixel_request(pixels), config) is pixels


def test_fp32_pixels_are_rounded(config, pixels):
    shift = np.random.default_rng(3).uniform(-0.4, 0.4, pixels.shape).astype(np.float32)
    values = np.clip(pixels + shift, 0, 255).astype(np.float32)

    got = read_pixels(pixel_request(values, "FP32"), config)

    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, pixels)


def test_black_and_nearly_black_fp32_pixels_are_taken(config):
    values = np.zeros((1, 3, 299, 299), np.float32)
    assert read_pixels(pixel_request(values, "FP32"), config).max() == 0

    values[0, 0, 0, 0] = 1
    assert read_pixels(pixel_request(values, "FP32"), config).max() == 1


@pytest.mark.parametrize("value", [-1, -0.01, 255.01, 1e30, np.nan, np.inf, -np.inf])
def test_fp32_pixels_out_of_range_are_refused(config, value):
    values = np.full((1, 3, 299, 299), 100, np.float32)
    values[0, 1, 2, 3] = value

    with pytest.raises(BadRequestError, match="input 'pixels' of model 'inception_v3' has values"):
        read_pixels(pixel_request(values, "FP32"), config)


def test_fp32_pixels_scaled_to_one_are_refused_with_the_remedy(config, pixels):
    values = (pixels / 255).astype(np.float32)

    with pytest.raises(BadRequestError, match=r"scaled to 0\.\.1.*multiply by 255"):
        read_pixels(pixel_request(values, "FP32"), config)


@pytest.mark.parametrize("datatype", ["FP64", "INT8", "UINT16", "FP16", "BOOL", "BYTES"])
def test_pixels_of_another_datatype_are_refused(config, pixels, datatype):
    with pytest.raises(BadRequestError, match=f"expected UINT8 or FP32, got '{datatype}'"):
        read_pixels(pixel_request(pixels, datatype), config)


@pytest.mark.parametrize(
    "shape",
    [(3, 299, 299), (1, 299, 299, 3), (1, 3, 299, 298), (1, 1, 3, 299, 299), (268203,), ()],
)
def test_pixels_of_another_shape_are_refused(config, shape):
    with pytest.raises(BadRequestError, match=r"expected \[-1, 3, 299, 299\], got \["):
        read_pixels(pixel_request(np.zeros(shape, np.uint8)), config)


@pytest.mark.parametrize("batch", [0, 33])
def test_batch_of_pixels_has_a_limit(config, batch):
    array = np.zeros((batch, 3, 299, 299), np.uint8)

    with pytest.raises(BadRequestError, match=f"must be from 1 to 32 .*, got {batch}"):
        read_pixels(pixel_request(array), config)


def test_batch_at_the_limit_is_taken(config):
    array = np.zeros((32, 3, 299, 299), np.uint8)

    assert read_pixels(pixel_request(array), config).shape == array.shape


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_images_are_taken_with_or_without_the_second_dimension(variant, shape):
    assert read_images(image_request(b"one", b"two", shape=shape), variant) == [b"one", b"two"]


@pytest.mark.parametrize("shape", [(), (1, 2), (2, 1, 1)])
def test_images_of_another_shape_are_refused(variant, shape):
    with pytest.raises(BadRequestError, match=r"expected \[-1, 1\], got \["):
        read_images(
            InferRequest(inputs=(Tensor("image", "BYTES", shape, [b"one", b"two"]),)), variant
        )


def test_images_as_numbers_are_refused(variant):
    tensor = Tensor("image", "UINT8", (1, 3), np.zeros((1, 3), np.uint8))

    with pytest.raises(BadRequestError, match="'inception_v3_image': expected BYTES, got 'UINT8'"):
        read_images(InferRequest(inputs=(tensor,)), variant)


def test_number_of_images_has_a_limit(variant):
    with pytest.raises(BadRequestError, match=r"must be from 1 to 32 .*, got 33; send more in"):
        read_images(image_request(*[b"x"] * 33), variant)


# --- which inputs ---------------------------------------------------------------------------------


def test_input_that_the_model_has_not_is_refused(config, variant, pixels):
    with pytest.raises(BadRequestError, match="input 'image' for model 'inception_v3'; it has 'pi"):
        read_pixels(image_request(b"x"), config)
    with pytest.raises(BadRequestError, match="'pixels' for model 'inception_v3_image'; it has 'i"):
        read_images(pixel_request(pixels), variant)


def test_request_without_an_input_is_refused(variant):
    with pytest.raises(BadRequestError, match=r"expected 1 input but got 0 .* send 'image' once"):
        read_images(InferRequest(), variant)


def test_input_beside_the_right_one_is_refused(variant):
    more = image_request(b"x", name="other").inputs

    with pytest.raises(BadRequestError, match="unexpected inference input 'other'"):
        read_images(InferRequest(inputs=image_request(b"x").inputs + more), variant)
