"""Decoding, the classifier on a GPU, and both from end to end."""

import contextlib
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from model_repo.inception_v3 import postprocess
from tests.benchmarks.gpu_decoders import Decoders, running_decoders
from tests.benchmarks.gpu_networks import measure_ours
from tests.benchmarks.gpu_setup import Bench
from tests.benchmarks.harness import Figures, Report

TARGET_IMAGES_PER_S = 10_000  # of the classifier alone, on an H200
TARGET_SHARE = 0.9  # end to end, of the lower of classifier and decoders
THREADS = 4  # as many chunks as an actor has in hand

PIPELINE_COLUMNS = {
    "images_per_s": "images/s",
    "of_bound": "of the lower of both",
    "busy": "GPU busy",
    "nvml_busy": "NVML busy",
}


def measure_pipeline(bench: Bench) -> Report:
    classifier = bench.classifier
    classifier.predict(bench.pixels)
    report = Report(
        name="gpu, end to end",
        title=f"From JPEGs of 500 x 375 to labels, batches of {bench.batch_size}, "
        f"{bench.processes} processes that decode, {THREADS} threads beside the GPU",
        columns=PIPELINE_COLUMNS,
        settings={"photos": len(bench.photos), "seconds": bench.seconds},
    )
    labels = bench.model.spec.labels
    rates = {}
    with running_decoders(
        bench.photos, processes=bench.processes, batch_size=bench.batch_size, ahead=2 * THREADS
    ) as decoders:

        def decode() -> None:
            with decoders.batch():
                pass

        def label() -> None:
            with decoders.batch() as pixels:
                postprocess(classifier.predict(pixels).logits, labels)

        cases = {
            "decoding alone": decode,
            "the classifier alone": lambda: classifier.predict(bench.pixels),
            "end to end": label,
        }
        drain(decoders, bench.processes)
        for name in ("decoding alone", "end to end"):
            rates[name] = measure_rate(bench, cases[name])
    name = "the classifier alone"  # now that nobody decodes beside it
    rates[name] = measure_rate(bench, cases[name])
    report.add({name: [rates[name]] for name in cases})
    add_shares(bench, report)
    return report


def drain(decoders: Decoders, processes: int) -> None:
    """Wait until every process has begun, and take what was decoded ahead."""
    for _ in range(3 * processes):
        with decoders.batch():
            pass


def measure_rate(bench: Bench, work: Callable[[], object]) -> Figures:
    """Call `work`, which is one batch, on some threads; return images/s of all together."""
    stop = threading.Event()
    done: list[float] = []

    def repeat() -> None:
        while not stop.is_set():
            work()
            done.append(time.perf_counter())

    def wait_for(count: int) -> int:
        while len(done) < count and not any(future.done() for future in futures):
            time.sleep(0.01)
        return len(done) - 1

    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(repeat) for _ in range(THREADS)]
        first = wait_for(2 * THREADS)  # the threads begin together; by now that is over
        seen = sample_utilization(bench, 3 * bench.seconds)
        last = wait_for(first + 3)
        stop.set()
        for future in futures:
            future.result()
    images = (last - first) * bench.batch_size
    figures = {"images_per_s": images / (done[last] - done[first])}
    return figures | ({"nvml_busy": statistics.mean(seen)} if seen else {})


def sample_utilization(bench: Bench, seconds: float) -> list[float]:
    """Wait; return what NVML says meanwhile, 0 to 1, or nothing where it cannot be asked."""
    until, seen = time.perf_counter() + seconds, []
    while time.perf_counter() < until:
        time.sleep(0.1)
        if bench.is_cuda:
            with contextlib.suppress(Exception):  # no pynvml, no such right, no such counter
                seen.append(torch.cuda.utilization() / 100)
    return seen


def add_shares(bench: Bench, report: Report) -> None:
    rates = {name: report.median(name, "images_per_s") for name in report.rows}
    alone = measure_ours(bench)
    bound = min(rates["decoding alone"], rates["the classifier alone"])
    share = rates["end to end"] / bound
    report.rows["end to end"]["of_bound"] = [share]
    for name in ("the classifier alone", "end to end"):
        report.rows[name]["busy"] = [rates[name] / alone]
    if not bench.is_cuda:
        return
    rate = rates["the classifier alone"]
    report.notes += [
        f"Target on an H200: {TARGET_IMAGES_PER_S:,} images/s of the classifier alone; here "
        f"{rate:,.0f}, {'met' if rate >= TARGET_IMAGES_PER_S else 'missed'}.",
        f"Target: {TARGET_SHARE:.0%} of the lower of both; here {share:.0%}, "
        f"{'met' if share >= TARGET_SHARE else 'missed'}.",
    ]


def compare_threads(bench: Bench) -> float:
    """Return by how much logits that threads get differ from those of one alone, of the largest."""
    classifier = bench.classifier
    random = np.random.default_rng(0)
    largest = len(bench.pixels)
    alone = classifier.predict(bench.pixels).logits
    counts = random.integers(1, largest + 1, 4 if bench.rounds == 1 else 200)
    starts = [int(random.integers(0, largest - count + 1)) for count in counts]

    def predict(start: int, count: int) -> np.ndarray:
        return classifier.predict(bench.pixels[start : start + count]).logits

    with ThreadPoolExecutor(2 * THREADS) as pool:
        results = list(pool.map(predict, starts, map(int, counts)))
    differences = [
        np.abs(logits - alone[start : start + len(logits)]).max()
        for start, logits in zip(starts, results, strict=True)
    ]
    return float(max(differences) / np.abs(alone).max())
