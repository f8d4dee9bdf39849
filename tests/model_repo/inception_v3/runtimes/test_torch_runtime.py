from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch

from model_repo.inception_v3.errors import ModelError
from model_repo.inception_v3.options import padded_size
from model_repo.inception_v3.runtimes.device_runner import DeviceRunner
from model_repo.inception_v3.runtimes.network import Network
from model_repo.inception_v3.runtimes.torch_runtime import build_step, run_in_parts

in_parts = partial(run_in_parts, free_memory=lambda: None)
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
    outputs = in_parts(Device(capacity))(PIXELS)

    expected = Device(100)(PIXELS)
    assert list(outputs) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(outputs[name], value)


def test_the_size_that_fits_is_remembered():
    device = Device(10)
    run = in_parts(device)

    run(PIXELS)
    assert device.sizes == [9, 9, 9, 9, 1]
    run(PIXELS[:16])
    assert device.sizes[5:] == [9, 7]


def test_a_batch_that_fits_is_run_as_it_is():
    device = Device(37)

    in_parts(device)(PIXELS)

    assert device.sizes == [37]


def test_libraries_without_memory_count_too():
    device = Device(20, RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))

    in_parts(device)(PIXELS)

    assert max(device.sizes) == 18


def test_memory_for_not_even_one_image_is_said_with_the_remedy():
    with pytest.raises(
        ModelError, match=r"not enough free memory on the device for one image.*--num-gpus 1"
    ):
        in_parts(Device(0))(PIXELS)


def test_every_thread_takes_the_size_that_fits():
    device = Device(10)
    run = in_parts(device)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, [PIXELS] * 30))

    assert all(np.array_equal(outputs["logits"], PIXELS) for outputs in results)
    assert set(device.sizes) == {9, 1}


@pytest.mark.parametrize(
    ("images", "attempts"), [(20, [20, "free", 20, 10, 10]), (1, [1, "free", 1])]
)
def test_memory_is_freed_before_the_next_attempt(images, attempts):
    tried = []
    device = Device(10)

    def run(pixels):
        tried.append(len(pixels))
        if images == 1 and len(tried) == 1:
            raise device.error
        return device(pixels)

    run_in_parts(run, lambda: tried.append("free"))(PIXELS[:images])

    assert tried == attempts


def test_a_padded_batch_gives_what_it_would_alone(small_spec, small_state_dict):
    names = ("logits", "embedding", "Mixed_6e")
    step = build_step(Network(small_spec, small_state_dict), names)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 107, 107), dtype=np.uint8)
    cpu = torch.device("cpu")

    padded = DeviceRunner(step, names, cpu, pad=padded_size)(pixels)
    alone = DeviceRunner(step, names, cpu)(pixels)

    assert [len(array) for array in padded.values()] == [3, 3, 3]
    for name, array in alone.items():
        np.testing.assert_allclose(padded[name], array, rtol=1e-4, atol=1e-4 * np.abs(array).max())


def test_other_errors_are_passed_on():
    with pytest.raises(RuntimeError, match="shape"):
        in_parts(Device(0, RuntimeError("shape mismatch")))(PIXELS)
