"""The forward pass by runtime, precision and batch size, against the machine's measured peak.

One thread each. "eager" is torchvision's network as it comes, in contiguous memory, which is what
peers run; "torch" and "openvino" are ours. The peak is the best of what `peak.py` measures in the
same precision and the same turns.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torchvision.models import Inception_V3_Weights, inception_v3

from model_repo.inception_v3 import Classifier, RuntimeOptions, find_weights, load_model
from tests.benchmarks.harness import Figures, Report, interleave, measure_cpu
from tests.benchmarks.peak import peak_cases

# A multiply and an addition each; torchvision states 5.713 GMAC.
GFLOP_PER_IMAGE = 2 * Inception_V3_Weights.IMAGENET1K_V1.meta["_ops"]
BATCH_SIZES = (1, 8, 32)
PRECISIONS = ("fp32", "bf16")
COLUMNS = {
    "cpu_ms": "CPU ms per image",
    "gflops": "GFLOPS",
    "of_peak": "of the peak",
}


def measure(*, quick: bool) -> list[Report]:
    torch.set_num_threads(1)
    images, repeats = (8, 1) if quick else (32, 3)
    peaks = {precision: peak_cases(precision) for precision in PRECISIONS}
    cases: dict[str, Callable[[], Figures]] = {**peaks["fp32"], **peaks["bf16"]}
    networks = {}
    for (name, precision), predict in _networks().items():
        for size in BATCH_SIZES:
            pixels = np.random.default_rng(0).integers(0, 256, (size, 3, 299, 299), np.uint8)
            case = f"{name} {precision}, batch of {size}"
            networks[case] = precision
            cases[case] = functools.partial(_measure, predict, pixels, max(images // size, 1))
    runs = interleave(cases, repeats=repeats, warmups=1)
    for case, precision in networks.items():
        for number, run in enumerate(runs[case]):
            best = max(runs[name][number]["gflops"] for name in peaks[precision])
            run["of_peak"] = run["gflops"] / best
    title = "Forward pass, one thread"
    report = Report(name="forward", title=title, columns=COLUMNS, settings={"repeats": repeats})
    report.add(runs)
    return [report]


def _measure(predict: Callable[[Any], Any], pixels: np.ndarray, calls: int) -> Figures:
    cpu_ms = measure_cpu(predict, [pixels] * calls)["cpu_ms"] / len(pixels)
    return {"cpu_ms": cpu_ms, "gflops": GFLOP_PER_IMAGE / cpu_ms * 1000}


def _networks() -> dict[tuple[str, str], Callable[[np.ndarray], Any]]:
    """Return runtime and precision → what takes pixels."""
    weights = find_weights(model := load_model(), "untrained")
    networks: dict[tuple[str, str], Callable[[np.ndarray], Any]] = {("eager", "fp32"): _eager()}
    for runtime in ("torch", "openvino"):
        for precision in PRECISIONS:
            options = RuntimeOptions(runtime=runtime, precision=precision, device="cpu")
            networks[runtime, precision] = Classifier.load(model, weights, options).predict
    return networks


def _eager() -> Callable[[np.ndarray], Any]:
    network = inception_v3(weights=None, transform_input=True, init_weights=False).eval()

    @torch.inference_mode()
    def predict(pixels: np.ndarray) -> Any:
        return network(torch.from_numpy(pixels).float().div(255))

    return predict
