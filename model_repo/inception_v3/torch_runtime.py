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

    return run
