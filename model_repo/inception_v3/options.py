"""How to run a network: the options, and the interface that each runtime implements.

A runtime takes uint8 [N, 3, H, W], N ≥ 1, and returns the requested outputs as float32 arrays that
the caller owns. Threads may share it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from model_repo.inception_v3.errors import ModelError
from model_repo.inception_v3.spec import OUTPUT_NAMES, Floats, Pixels, Precision

Device = Literal["auto", "cpu", "cuda"]
RuntimeName = Literal["auto", "torch", "openvino"]
Runtime = Callable[[Pixels], dict[str, Floats]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """How to run a network.

    Attributes:
        device: `auto` is cuda if there is such a device, unless the runtime is openvino.
        runtime: `auto` is torch on cuda, openvino on cpu.
        precision: `auto` is the model config's precision, else fp16 on cuda and fp32 on cpu.
        outputs: wanted besides the logits: `embedding` or layers of `FEATURE_SHAPES`.
        threads: CPU threads of one forward pass.
    """

    device: Device = "auto"
    runtime: RuntimeName = "auto"
    precision: Precision | Literal["auto"] = "auto"
    outputs: tuple[str, ...] = ()
    threads: int = 1

    def __post_init__(self) -> None:
        for name in self.outputs:
            if name not in OUTPUT_NAMES:
                raise ModelError(f"unknown output {name!r}; there are {', '.join(OUTPUT_NAMES)}")

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the names of what a runtime returns: the logits, then `outputs`, each once."""
        return tuple(dict.fromkeys(("logits", *self.outputs)))

    def resolve(self, configured: Precision | None = None) -> "RuntimeOptions":
        """Replace each `auto`; only `device` depends on the machine.

        `configured` is the precision in the model's config.pbtxt, if there is one.

        Raises:
            ModelError: the device does not support the runtime or the precision.
        """
        device, runtime = self.device, self.runtime
        if device == "auto":
            device = "cuda" if runtime != "openvino" and _has_cuda() else "cpu"
        if runtime == "auto":
            runtime = "torch" if device == "cuda" else "openvino"
        precision = self.precision
        if precision == "auto":
            precision = configured or ("fp16" if device == "cuda" else "fp32")
        if runtime == "openvino" and device == "cuda":
            raise ModelError("the openvino runtime runs on CPUs; use the torch runtime on GPUs")
        if precision == "fp16" and device == "cpu":
            raise ModelError(
                "precision fp16 needs a CUDA device and the torch runtime; CPUs have fp32 and bf16"
            )
        return replace(self, device=device, runtime=runtime, precision=precision)

    def first_sizes(self, largest: int) -> tuple[int, ...]:
        """Return the batch sizes, up to `largest` images, whose first pass is slow."""
        if self.device == "cuda":
            return tuple(dict.fromkeys(padded_size(size) for size in range(1, largest + 1)))
        return (1, min(8, largest))  # one image, and OpenVINO's tile


def padded_size(count: int) -> int:
    """Return the batch size that a GPU uses for `count` images; there are only a few sizes."""
    # A service gathers any number of requests; most batches of a job have the size it was given.
    return 1 << (count - 1).bit_length() if count <= 32 else -(-count // 32) * 32


def count_gpus() -> int:
    """Return the number of CUDA devices that this process sees."""
    import torch  # noqa: PLC0415 - not every process with options runs a network

    return torch.cuda.device_count()


def count_shares(gpus: int, num_gpus: float) -> int:
    """Return the number of processes that fit on `gpus` if each takes `num_gpus` ≤ 1 of one."""
    return gpus * int(1 / num_gpus)


def _has_cuda() -> bool:
    import torch  # noqa: PLC0415

    return torch.cuda.is_available()
