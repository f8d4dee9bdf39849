"""The network alone on a GPU, in variants: images/s with the batch on the device, and parity."""

import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.models.inception import BasicConv2d

from model_repo.inception_v3.postprocess import softmax
from model_repo.inception_v3.runtimes.checkpoint import load_state_dict
from model_repo.inception_v3.runtimes.device_runner import DeviceRunner, Graph, Step
from model_repo.inception_v3.runtimes.network import build_inception, input_affine
from model_repo.inception_v3.runtimes.torch_runtime import build_step, load_network
from tests.benchmarks.gpu_setup import Bench
from tests.benchmarks.harness import Figures, Report

DEADLINE_S = 400  # no further variant is begun after so long
NETWORK_COLUMNS = {
    "images_per_s": "images/s",
    "prepare_s": "s until the first batch",
    "score_difference": "largest score difference, 1/1000",
    "top1_kept": "top-1 kept, %",
}


@dataclass(frozen=True)
class Variant:
    """One way to run the network; `sizes` None means all."""

    build: Callable[[], Step]
    graphs: bool = False
    peers_settings: bool = False
    sizes: tuple[int, ...] | None = None


def variants(bench: Bench) -> dict[str, Variant]:
    precision = bench.options.precision
    ours = f"ours, {precision}, channels last"
    found = {
        "torchvision's, eager, fp32": Variant(lambda: build_peers(bench), peers_settings=True),
        f"{ours}, eager": Variant(lambda: build_ours(bench)),
    }
    if bench.is_cuda:
        found[f"{ours}, CUDA graphs (jobs and service)"] = Variant(
            lambda: build_ours(bench), graphs=True
        )
    return found


def costly_variants(bench: Bench) -> dict[str, Variant]:
    """Return what is not used: it may pay, and takes long to prepare, or is new."""

    def build_compiled() -> Step:
        torch.compiler.reset()
        return torch.compile(build_ours(bench), dynamic=False)

    sizes = tuple(size for size in bench.sizes if size >= bench.batch_size)
    return {
        "CUDA graphs, cuDNN's fused bias and ReLU": Variant(
            lambda: build_fused(bench), graphs=True
        ),
        "torch.compile": Variant(build_compiled, sizes=sizes[:1]),
        "torch.compile, CUDA graphs": Variant(build_compiled, graphs=True, sizes=sizes),
    }


def build_ours(bench: Bench) -> Step:
    return build_step(load_network(bench.model.spec, bench.weights, bench.options), ("logits",))


def build_peers(bench: Bench) -> Step:
    """Torchvision's network as it comes: batch norm apart, contiguous, TF32 allowed."""
    spec = bench.model.spec
    network = build_inception(spec.num_classes)
    network.load_state_dict(load_state_dict(bench.weights, spec))
    network.eval().to(bench.device)
    scale, shift = (x.view(1, 3, 1, 1).to(bench.device) for x in input_affine(spec))
    return lambda batch: (network(batch.float().contiguous() * scale + shift),)


def build_fused(bench: Bench) -> Step:
    """Ours with convolution, bias and ReLU in one kernel; eager torch has three."""
    network = load_network(bench.model.spec, bench.weights, bench.options)
    for module in network.stages.modules():
        # cuDNN's fused kernels want channels in eights; the first convolution has three.
        if isinstance(module, BasicConv2d) and module.conv.in_channels % 8 == 0:
            module.forward = functools.partial(_convolve_relu, module.conv)
    return build_step(network, ("logits",))


def _convolve_relu(conv: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    return torch.cudnn_convolution_relu(
        x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups
    )


def measure_networks(bench: Bench, chosen: dict[str, Variant], title: str) -> Report:
    device = torch.cuda.get_device_name() if bench.is_cuda else "CPU"
    report = Report(
        name=f"gpu, {title}",
        title=f"{device}: {title}",
        columns=NETWORK_COLUMNS,
        settings={"weights": bench.weights.sha256, "sizes": bench.sizes},
    )
    for name, variant in chosen.items():
        for size in variant.sizes or bench.sizes:
            if time.monotonic() - bench.started > DEADLINE_S:
                report.notes.append(f"{name}, batch of {size}: left out, for want of time.")
                continue
            try:
                figures = measure_network(bench, variant, size)
            except RuntimeError as exc:  # of a variant that this device or torch does not have
                report.notes.append(f"{name}, batch of {size}: {str(exc).splitlines()[0]}")
                continue
            report.add({f"{name}, batch of {size}": [figures]})
            print(f"{name}, batch of {size}: {figures['images_per_s']:,.0f} images/s", flush=True)
    return report


def measure_ours(bench: Bench) -> float:
    """Return the images/s of the network as jobs run it, alone."""
    variant = Variant(lambda: build_ours(bench), graphs=bench.is_cuda)
    return measure_network(bench, variant, bench.batch_size)["images_per_s"]


@torch.inference_mode()
def measure_network(bench: Bench, variant: Variant, size: int) -> Figures:
    with settings(variant):
        began = time.monotonic()
        step = variant.build()
        prepare, run = prepare_run(bench, variant, step, size)
        bench.module.synchronize()
        figures = {
            "prepare_s": time.monotonic() - began,
            "images_per_s": size * calls_per_s(bench, run),
        }
        del prepare, run
        if size == bench.batch_size:
            figures |= compare(bench, step, variant.graphs)
    if bench.is_cuda:
        torch.cuda.empty_cache()
    return figures


def prepare_run(
    bench: Bench, variant: Variant, step: Step, size: int
) -> tuple[torch.Tensor, Callable[[], object]]:
    """Return the batch on the device, and what computes it."""
    pixels = torch.from_numpy(np.resize(bench.pixels, (size, *bench.pixels.shape[1:])))
    batch = pixels.to(bench.device).contiguous(memory_format=torch.channels_last)
    if not variant.graphs:
        step(batch)
        return batch, lambda: step(batch)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        graph = Graph(step, batch, stream, torch.cuda.graph_pool_handle())

    def replay() -> None:
        with torch.cuda.stream(stream):
            graph.replay()

    return batch, replay


@contextlib.contextmanager
def settings(variant: Variant) -> Iterator[None]:
    """Set what torch comes with, for what peers run, or what our runtime sets."""
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.benchmark = not variant.peers_settings
    torch.backends.cudnn.allow_tf32 = variant.peers_settings
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = before


def calls_per_s(bench: Bench, run: Callable[[], object]) -> float:
    """Return the median of some rounds."""

    def time_calls(count: int) -> float:
        bench.module.synchronize()
        started = time.perf_counter()
        for _ in range(count):
            run()
        bench.module.synchronize()
        return time.perf_counter() - started

    time_calls(1)
    count = max(1, int(bench.seconds / bench.rounds / time_calls(1)))
    return count / statistics.median(time_calls(count) for _ in range(bench.rounds))


def compare(bench: Bench, step: Step, graphs: bool) -> Figures:
    """Compare scores with those of the CPU, by the way that jobs take."""
    outputs = DeviceRunner(step, ("logits",), bench.device, capture=graphs)(bench.pixels)
    scores = softmax(outputs["logits"])
    is_kept = scores.argmax(axis=1) == bench.expected.argmax(axis=1)
    return {
        "score_difference": 1000 * float(np.abs(scores - bench.expected).max()),
        "top1_kept": 100 * float(is_kept.mean()),
    }
