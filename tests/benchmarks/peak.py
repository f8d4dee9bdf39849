"""What one core of this machine can compute at best: multiplications and additions, nothing else.

No library reaches the peak of every machine, so several are asked, each for what it does best: a
product of large matrices, and a convolution with as many channels as the network's middle.
"""

import functools
from collections.abc import Callable

import numpy as np
import openvino
import openvino.opset13 as ops
import torch

from tests.benchmarks.harness import Figures, measure_cpu

_MATRIX = 2048
_BATCH, _CHANNELS, _SIDE = 8, 512, 17
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_HINTS = {"fp32": "f32", "bf16": "bf16"}


def peak_cases(precision: str) -> dict[str, Callable[[], Figures]]:
    """Name → what measures it once, in one thread: GFLOPS by CPU time."""
    left, right = torch.rand(2, _MATRIX, _MATRIX).to(_DTYPES[precision])
    products = 2 * _MATRIX**3
    convolutions = 2 * _BATCH * _CHANNELS**2 * 9 * _SIDE**2
    work: dict[str, tuple[float, Callable[[], object]]] = {
        "matrix product, torch": (products, lambda: left @ right),
        "convolution, openvino": (convolutions, _convolution(precision)),
    }
    if precision == "fp32":  # numpy has no other
        matrices = left.numpy(), right.numpy()
        work["matrix product, numpy"] = products, lambda: np.matmul(*matrices)
    return {
        f"{name}, {precision}": functools.partial(_measure, flop, run)
        for name, (flop, run) in work.items()
    }


def _measure(flop: float, run: Callable[[], object]) -> Figures:
    return {"gflops": flop / measure_cpu(lambda _: run(), [None] * 8)["cpu_ms"] / 1e6}


def _convolution(precision: str) -> Callable[[], object]:
    shape, kernel = (_BATCH, _CHANNELS, _SIDE, _SIDE), (_CHANNELS, _CHANNELS, 3, 3)
    random = np.random.default_rng(0)
    pixels = random.random(shape, np.float32)
    parameter = ops.parameter(shape, np.float32)
    ones = [1, 1]
    result = ops.convolution(parameter, random.random(kernel, np.float32), ones, ones, ones, ones)
    config = {
        "INFERENCE_NUM_THREADS": 1,
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    model = openvino.Core().compile_model(openvino.Model([result], [parameter]), "CPU", config)
    request = model.create_infer_request()
    return lambda: request.infer([pixels], share_inputs=True)
