"""The torch runtime: CUDA where there is a device, and the reference on CPUs."""

import numpy as np
import numpy.typing as npt
import torch

from model_repo.inception_v3.checkpoint import load_state_dict
from model_repo.inception_v3.errors import ModelError
from model_repo.inception_v3.network import Network
from model_repo.inception_v3.runtime import Runtime, RuntimeOptions
from model_repo.inception_v3.spec import OUTPUT_NAMES, ModelSpec
from model_repo.inception_v3.weights import Weights

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def build_torch_runtime(spec: ModelSpec, weights: Weights, options: RuntimeOptions) -> Runtime:
    """Load the network onto the device that `options` name.

    Raises:
        ModelError: there is no CUDA device.
        WeightsError: the weights do not fit.
    """
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ModelError("there is no CUDA device here; run on a machine that has one, or on CPUs")
    # TF32 would make fp32 on GPUs another model than fp32 on CPUs.
    torch.backends.cudnn.allow_tf32 = False
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    network = Network(spec, load_state_dict(weights, spec)).to(device)
    network.stages.to(dtype=_DTYPES[options.precision])
    network.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(pixels: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
        # A copy, since pixels that come through Ray's object store are read-only.
        batch = torch.tensor(pixels).to(device).contiguous(memory_format=torch.channels_last)
        outputs = dict(zip(OUTPUT_NAMES, network(batch), strict=True))
        return {
            name: outputs[name].float().contiguous().cpu().numpy() for name in options.output_names
        }

    return run_in_parts(run)


def gpu_name() -> str:
    """Return what the GPU is called."""
    return torch.cuda.get_device_name()


def run_in_parts(run: Runtime) -> Runtime:
    """Halve batches that the device's memory does not hold, and remember what it does hold.

    The returned runtime raises `ModelError` where not even one image fits.
    """
    largest: int | None = None

    def run_parts(pixels: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
        nonlocal largest
        parts: list[dict[str, npt.NDArray[np.float32]]] = []
        start = 0
        while start < len(pixels):
            part = pixels[start : start + (largest or len(pixels))]
            outputs = _run_if_it_fits(run, part)
            if outputs is None:
                largest = len(part) // 2
                torch.cuda.empty_cache()
                continue
            parts.append(outputs)
            start += len(part)
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return run_parts


def _run_if_it_fits(
    run: Runtime, pixels: npt.NDArray[np.uint8]
) -> dict[str, npt.NDArray[np.float32]] | None:
    # Returned from, so that nothing of the failed attempt is held during the next.
    try:
        return run(pixels)
    except RuntimeError as exc:
        if not isinstance(exc, torch.OutOfMemoryError) and "ALLOC_FAILED" not in str(exc):
            raise
        if len(pixels) > 1:
            return None
        raise ModelError(
            "the device has not enough free memory for one image; end what else runs on it, or "
            "share it among fewer actors (--num-gpus 1)"
        ) from exc
