"""What holds on every device, tried on a CPU; tests/benchmarks/gpu.py tries the same on a GPU."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from model_repo.inception_v3.options import RuntimeOptions, padded_size
from model_repo.inception_v3.runtimes.device_runner import DeviceRunner

CPU = torch.device("cpu")
NAMES = ("mean", "map")


class Network:
    """Two outputs that tell images apart; `shapes` are those of the batches it has seen."""

    def __init__(self):
        self.shapes = []
        self.running = self.most_running = 0
        self.lock = threading.Lock()

    def __call__(self, batch):
        with self.lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        assert batch.dtype == torch.uint8
        assert batch.is_contiguous(memory_format=torch.channels_last)
        self.shapes.append(tuple(batch.shape))
        values = batch.float()
        time.sleep(0.001)
        with self.lock:
            self.running -= 1
        return values.mean(dim=(1, 2, 3)), values[:, :1]


@pytest.fixture
def network():
    return Network()


def make_pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 6, 5), dtype=np.uint8)


def assert_are_of(outputs, pixels):
    assert list(outputs) == list(NAMES)
    np.testing.assert_allclose(outputs["mean"], pixels.mean(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_array_equal(outputs["map"], pixels[:, :1])
    assert {array.dtype for array in outputs.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("count", "size"), [(1, 1), (3, 4), (17, 32), (33, 64), (128, 128)])
def test_a_batch_is_filled_up_and_the_rest_thrown_away(network, count, size):
    pixels = make_pixels(count)

    outputs = DeviceRunner(network, NAMES, CPU, pad=padded_size)(pixels)

    assert network.shapes == [(size, 3, 6, 5)]
    assert_are_of(outputs, pixels)


def test_without_sizes_a_batch_is_run_as_it_is(network):
    DeviceRunner(network, NAMES, CPU)(make_pixels(17))

    assert network.shapes == [(17, 3, 6, 5)]


def test_threads_get_what_they_asked_for_though_one_network_runs_at_a_time(network):
    batches = [make_pixels(1 + seed % 7, seed) for seed in range(60)]
    run = DeviceRunner(network, NAMES, CPU, pad=padded_size)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, batches))

    for outputs, pixels in zip(results, batches, strict=True):  # also: none has changed since
        assert_are_of(outputs, pixels)
    assert network.most_running == 1


def test_pixels_may_be_read_only_and_strided_and_are_left_alone(network):
    pixels = make_pixels(8).transpose(0, 1, 3, 2)[::2]
    pixels.flags.writeable = False
    before = pixels.copy()

    outputs = DeviceRunner(network, NAMES, CPU, pad=padded_size)(pixels)

    assert_are_of(outputs, before)
    np.testing.assert_array_equal(pixels, before)


def test_what_fails_fails_alone(network):
    def run_or_fail(batch):
        if len(batch) == 4:
            raise RuntimeError("four is too many")
        return network(batch)

    run = DeviceRunner(run_or_fail, NAMES, CPU)

    def outcome(count):
        try:
            return run(make_pixels(count))
        except RuntimeError as exc:
            return str(exc)

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(outcome, [1, 4, 2, 4, 4, 4, 4, 3]))

    assert [i for i, x in enumerate(outcomes) if x == "four is too many"] == [1, 3, 4, 5, 6]
    assert_are_of(outcomes[7], make_pixels(3))


def test_there_are_few_sizes_and_none_is_too_small():
    sizes = {count: padded_size(count) for count in range(1, 257)}

    assert all(size >= count for count, size in sizes.items())
    assert sorted(set(sizes.values())) == [1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 192, 224, 256]
    assert all(padded_size(size) == size for size in sizes.values())


def test_each_size_of_a_gpu_is_prepared():
    options = RuntimeOptions(device="cuda", runtime="torch", precision="fp16")

    assert options.first_sizes(32) == (1, 2, 4, 8, 16, 32)
    assert options.first_sizes(20) == (1, 2, 4, 8, 16, 32)
    assert RuntimeOptions(device="cpu").first_sizes(32) == (1, 8)
