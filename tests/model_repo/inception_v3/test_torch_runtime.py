import numpy as np
import pytest
import torch

from model_repo.inception_v3.errors import ModelError
from model_repo.inception_v3.torch_runtime import run_in_parts

PIXELS = np.arange(37, dtype=np.uint8).reshape(37, 1)


class Device:
    """A runtime that holds `capacity` images; `sizes` are those of the batches it has run."""

    def __init__(self, capacity, error=None):
        self.capacity = capacity
        self.error = error or torch.OutOfMemoryError("CUDA out of memory")
        self.sizes = []

    def __call__(self, pixels):
        if len(pixels) > self.capacity:
            raise self.error
        self.sizes.append(len(pixels))
        maps = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
        values = pixels.astype(np.float32)
        return {
            "logits": values,
            "embedding": values * 2,
            "Mixed_5d": values[:, :, None, None] + maps,
        }


@pytest.mark.parametrize("capacity", [1, 2, 5, 18, 19, 36])
def test_a_batch_that_does_not_fit_gives_what_it_would_whole(capacity):
    outputs = run_in_parts(Device(capacity))(PIXELS)

    expected = Device(100)(PIXELS)
    assert list(outputs) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(outputs[name], value)


def test_the_size_that_fits_is_remembered():
    device = Device(10)
    run = run_in_parts(device)

    run(PIXELS)
    assert device.sizes == [9, 9, 9, 9, 1]
    run(PIXELS[:16])
    assert device.sizes[5:] == [9, 7]


def test_a_batch_that_fits_is_run_as_it_is():
    device = Device(37)

    run_in_parts(device)(PIXELS)

    assert device.sizes == [37]


def test_libraries_without_memory_count_too():
    device = Device(20, RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))

    run_in_parts(device)(PIXELS)

    assert max(device.sizes) == 18


def test_memory_for_not_even_one_image_is_said_with_the_remedy():
    with pytest.raises(ModelError, match=r"not enough free memory for one image.*--num-gpus 1"):
        run_in_parts(Device(0))(PIXELS)


def test_other_errors_are_passed_on():
    with pytest.raises(RuntimeError, match="shape"):
        run_in_parts(Device(0, RuntimeError("shape mismatch")))(PIXELS)
