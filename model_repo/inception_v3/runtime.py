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

RuntimeName = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "fp32", "fp16", "bf16"]
Runtime = Callable[[npt.NDArray[np.uint8]], dict[str, npt.NDArray[np.float32]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """How to run a network.

    Attributes:
        runtime: `auto` is torch where there is a CUDA device, openvino elsewhere.
        precision: `auto` is fp16 on CUDA and fp32 on CPUs.
        outputs: wanted beside the logits: `embedding` or layers of `FEATURE_SHAPES`.
        threads: CPU threads of one forward pass.
    """

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
        """Replace `auto` by what this machine has.

        Raises:
            ModelError: the precision is not to be had on this machine.
        """
        has_cuda = self.runtime != "openvino" and _has_cuda()
        runtime = self.runtime
        if runtime == "auto":
            runtime = "torch" if has_cuda else "openvino"
        on_gpu = runtime == "torch" and has_cuda
        precision = self.precision
        if precision == "auto":
            precision = "fp16" if on_gpu else "fp32"
        if precision == "fp16" and not on_gpu:
            raise ModelError(
                "precision fp16 needs a CUDA device and the torch runtime; use fp32 here"
            )
        return replace(self, runtime=runtime, precision=precision)


def _has_cuda() -> bool:
    import torch  # noqa: PLC0415 - options are also made where no network runs

    return torch.cuda.is_available()
