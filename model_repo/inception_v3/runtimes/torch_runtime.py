"""The torch runtime: for CUDA devices, and as the reference on CPUs."""

import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from model_repo.inception_v3.errors import ModelError
from model_repo.inception_v3.options import Runtime, RuntimeOptions, padded_size
from model_repo.inception_v3.repository.weights import Weights
from model_repo.inception_v3.runtimes.checkpoint import load_state_dict
from model_repo.inception_v3.runtimes.device_runner import DeviceRunner, Step
from model_repo.inception_v3.runtimes.network import Network
from model_repo.inception_v3.spec import OUTPUT_NAMES, Floats, ModelSpec, Pixels

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_OUT_OF_MEMORY = ("out of memory", "ALLOC_FAILED")  # torch's and CUDA's words, their libraries'


def build_runtime(spec: ModelSpec, weights: Weights, options: RuntimeOptions) -> Runtime:
    """Load the network onto the device that `options` name.

    Raises:
        ModelError: there is no CUDA device.
        WeightsError: the weights do not fit.
    """
    network = load_network(spec, weights, options)
    names = options.output_names
    device = torch.device(options.device)
    if options.device == "cpu":
        return DeviceRunner(build_step(network, names), names, device)
    # CUDA graphs rather than torch.compile, which takes half a minute per batch size and process.
    # Few batch sizes, so that few graphs are recorded and cuDNN seldom has to try its kernels.
    torch.backends.cudnn.benchmark = True
    runner = DeviceRunner(build_step(network, names), names, device, pad=padded_size, capture=True)
    return run_in_parts(runner, runner.free_memory)


def load_network(spec: ModelSpec, weights: Weights, options: RuntimeOptions) -> Network:
    """Load the network onto its device, in its precision, channels last.

    Raises:
        ModelError: there is no CUDA device.
        WeightsError: the weights do not fit.
    """
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ModelError("there is no CUDA device here; run on a machine that has one, or on CPUs")
    # With TF32, fp32 on GPUs would be a different model from fp32 on CPUs.
    torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(options.threads)
    network = Network(spec, load_state_dict(weights, spec)).to(options.device)
    network.stages.to(dtype=_DTYPES[options.precision])
    network.to(memory_format=torch.channels_last)
    if options.device == "cuda":
        torch.cuda.synchronize()  # other streams will use it
    return network


def build_step(network: Network, names: Sequence[str]) -> Step:
    """Return the step that computes the outputs `names`, in float32, from a batch on the device."""

    def step(batch: Tensor) -> tuple[Tensor, ...]:
        outputs = dict(zip(OUTPUT_NAMES, network(batch), strict=True))
        # All logits, not just the best few: 4 KB are little next to the image's pixels, and
        # `postprocess` alone then decides on softmax and order.
        return tuple(outputs[name].float().contiguous() for name in names)

    return step


def gpu_name() -> str:
    """Return the GPU's name."""
    return torch.cuda.get_device_name()


def run_in_parts(run: Runtime, free_memory: Callable[[], None]) -> Runtime:
    """Halve batches that do not fit into the device's memory, and remember the size that does.

    The returned runtime raises `ModelError` if not even one image fits.
    """
    largest: int | None = None
    lock = threading.Lock()

    def run_parts(pixels: Pixels) -> dict[str, Floats]:
        nonlocal largest
        parts: list[dict[str, Floats]] = []
        start = 0
        while start < len(pixels):
            part = pixels[start : start + (largest or len(pixels))]
            outputs = _run_if_it_fits(run, part)
            if outputs is None:
                free_memory()  # that may be enough
                outputs = _run_if_it_fits(run, part)
            if outputs is not None:
                parts.append(outputs)
                start += len(part)
            elif len(part) > 1:
                with lock:  # another thread may have found the same
                    largest = min(largest or len(part), len(part) // 2)
            else:
                raise ModelError(
                    "there is not enough free memory on the device for one image; stop what "
                    "else runs on it, or share it among fewer actors (--num-gpus 1)"
                )
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return run_parts


def _run_if_it_fits(run: Runtime, pixels: Pixels) -> dict[str, Floats] | None:
    # A function, so that nothing of a failed attempt is kept during the next.
    try:
        return run(pixels)
    except RuntimeError as exc:
        if any(words in str(exc) for words in _OUT_OF_MEMORY):
            return None
        raise
