"""How a network is run: what a caller may choose, and the seam that each runtime implements.

A runtime takes uint8 [N, 3, H, W], N ≥ 1, and returns the outputs asked for as float32 arrays.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from model_repo.inception_v3.errors import ModelError
from model_repo.inception_v3.spec import OUTPUT_NAMES

Device = Literal["auto", "cpu", "cuda"]
RuntimeName = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "fp32", "fp16", "bf16"]
Runtime = Callable[[npt.NDArray[np.uint8]], dict[str, npt.NDArray[np.float32]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """How to run a network.

    Attributes:
        device: `auto` is cuda where there is such a device, unless openvino is asked for.
        runtime: `auto` is torch on cuda, openvino on cpu.
        precision: `auto` is fp16 on cuda, fp32 on cpu; checks can change that, see
            `precision.choose_precision`.
        outputs: wanted beside the logits: `embedding` or layers of `FEATURE_SHAPES`.
        threads: CPU threads of one forward pass.
    """

    device: Device = "auto"
    runtime: RuntimeName = "auto"
    precision: Precision = "auto"
    outputs: tuple[str, ...] = ()
    threads: int = 1

    def __post_init__(self) -> None:
        for name in self.outputs:
            if name not in OUTPUT_NAMES:
                raise ModelError(f"unknown output {name!r}; there are {', '.join(OUTPUT_NAMES)}")

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return what a runtime returns: the logits, then `outputs`, each once."""
        return tuple(dict.fromkeys(("logits", *self.outputs)))

    def resolve(self) -> "RuntimeOptions":
        """Replace each `auto` by what it is without checks; only `device` depends on the machine.

        Raises:
            ModelError: the runtime or the precision does not go with the device.
        """
        device, runtime, precision = self.device, self.runtime, self.precision
        if device == "auto":
            device = "cuda" if runtime != "openvino" and _has_cuda() else "cpu"
        if runtime == "auto":
            runtime = "torch" if device == "cuda" else "openvino"
        if precision == "auto":
            precision = "fp16" if device == "cuda" else "fp32"
        if runtime == "openvino" and device == "cuda":
            raise ModelError("the openvino runtime runs on CPUs; use the torch runtime on GPUs")
        if precision == "fp16" and device == "cpu":
            raise ModelError(
                "precision fp16 needs a CUDA device and the torch runtime; CPUs have fp32 and bf16"
            )
        return replace(self, device=device, runtime=runtime, precision=precision)


def count_gpus() -> int:
    """Return how many CUDA devices this process sees."""
    import torch  # noqa: PLC0415 - options are also made where no network runs

    return torch.cuda.device_count()


def _has_cuda() -> bool:
    import torch  # noqa: PLC0415

    return torch.cuda.is_available()
