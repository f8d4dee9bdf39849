"""CPU time per image of a real `labelmill label` job, against the bare torchvision loop.

    python -m tests.benchmarks.job [--images 400] [--repeat 3] [--json PATH]

CPU time, because on shared machines it is what repeats; both sides in one run, because only their
ratio holds from one machine to the next. The job may cost at most half of the bare loop.

The job is the command itself, on JPEGs of 500 x 375 as ImageNet's. Its CPU time is that of every
process it starts: Ray's daemons and workers are found as descendants of this process, which adopts
orphans (PR_SET_CHILD_SUBREAPER), and what each has used is read from /proc until all have ended.

Start-up is excluded by running the job twice, on one chunk for each actor and on `--images` more;
the difference is what those images cost, with everything that Ray and the storage do meanwhile. The
pool has a fixed size, so that both runs start the same processes. The bare loop is what a user
would write: PIL, torchvision's preset, `inception_v3` in eager fp32, batches of 8, torch's own
choice of threads; it is timed after a warm-up. Its OpenMP threads sleep rather than spin when they
wait (OMP_WAIT_POLICY): on a busy machine spinning would double its figure, and flatter the job.

Decoding and the forward pass are timed alone, in one thread. What the job costs beside them is Ray,
I/O, and that its processes share caches and memory bandwidth.
"""

import argparse
import contextlib
import ctypes
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.models import Inception_V3_Weights, inception_v3

from model_repo.inception_v3 import Classifier, find_weights, load_model, preprocess
from tests.images import encode, photo

TARGET_RATIO = 0.5
CHUNK = 32  # objects in each of a job's first chunks
BARE_BATCH = 8
JOB_TIMEOUT_S = 900
PR_SET_CHILD_SUBREAPER = 36

Figures = dict[str, float]
ROWS = {
    "ratio": f"job ÷ bare loop (target: at most {TARGET_RATIO})",
    "job_cpu_ms": "job, CPU ms per image",
    "bare_cpu_ms": "bare loop, CPU ms per image",
    "decode_cpu_ms": "decode alone, CPU ms per image",
    "forward_cpu_ms": "forward pass alone, CPU ms per image",
    "overhead_cpu_ms": "job less decode and forward, CPU ms per image",
    "startup_cpu_s": "start-up and commit of a job, CPU s",
    "images_per_s": "images/s that job.json reports",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every figure there")
    arguments = parser.parse_args()
    if "OMP_WAIT_POLICY" not in os.environ:  # torch reads it when it is loaded
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.execv(sys.executable, sys.orig_argv)
    adopt_orphans()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="labelmill-bench-") as folder:
        measure = build_benchmark(Path(folder), arguments.images)
        runs = [measure(number) for number in range(arguments.repeat)]
    medians = {name: statistics.median(run[name] for run in runs) for name in ROWS}
    print(f"{arguments.images} images, {os.cpu_count()} cores, load {load:.1f} before\n")
    print("| | median | every run |\n|---|---:|---|")
    for name, title in ROWS.items():
        every = ", ".join(f"{run[name]:.2f}" for run in runs)
        print(f"| {title} | {medians[name]:.2f} | {every} |")
    if arguments.json:
        figures = {"images": arguments.images, "load": load, "medians": medians, "runs": runs}
        arguments.json.write_text(json.dumps(figures, indent=2))


def build_benchmark(folder: Path, count: int) -> Callable[[int], Figures]:
    """Return what measures everything once."""
    cores = os.cpu_count() or 1
    few = CHUNK * cores
    photos = [make_photo(seed) for seed in range(few + count)]
    for name, some in (("few", photos[:few]), ("many", photos)):
        (folder / name).mkdir()
        for number, data in enumerate(some):
            (folder / name / f"{number:05d}.jpg").write_bytes(data)
    bare = build_bare_loop()
    classifier = Classifier.load(model := load_model(), find_weights(model, "untrained"))
    threads = torch.get_num_threads()

    def measure(number: int) -> Figures:
        few_cpu_s, _ = run_job(folder / "few", folder / f"few-{number}", cores)
        torch.set_num_threads(threads)
        bare_batches = [photos[start : start + BARE_BATCH] for start in range(0, few, BARE_BATCH)]
        bare_ms = cpu_ms(bare, bare_batches) / BARE_BATCH
        many_cpu_s, record = run_job(folder / "many", folder / f"many-{number}", cores)
        torch.set_num_threads(1)
        decode_ms = cpu_ms(preprocess, photos[:96])
        pixels = [preprocess(data).pixels for data in photos[:CHUNK]]
        forward_ms = cpu_ms(classifier.predict, [np.stack(pixels)] * 3) / CHUNK
        job_ms = (many_cpu_s - few_cpu_s) / count * 1000
        rest_ms = job_ms - decode_ms - forward_ms
        startup_s = few_cpu_s - few * job_ms / 1000
        costs = (job_ms / bare_ms, job_ms, bare_ms, decode_ms, forward_ms, rest_ms, startup_s)
        return dict(zip(ROWS, (*costs, record["timings"]["images_per_s"]), strict=True))

    return measure


def make_photo(seed: int) -> bytes:
    """Return a JPEG of 500 x 375 with a photo's texture, about 110 KB."""
    grain = np.random.default_rng(seed).normal(0, 24, (375, 500, 1))
    pixels = np.clip(photo(500, 375, seed) + grain, 0, 255).astype(np.uint8)
    return encode(pixels, "JPEG", quality=90)


def build_bare_loop() -> Callable[[list[bytes]], Any]:
    transform = Inception_V3_Weights.IMAGENET1K_V1.transforms()
    network = inception_v3(weights=None, transform_input=True, init_weights=False).eval()

    @torch.inference_mode()
    def predict(images: list[bytes]) -> Any:
        decoded = [Image.open(io.BytesIO(data)).convert("RGB") for data in images]
        batch = torch.stack([transform(image) for image in decoded])
        return network(batch).softmax(dim=1).topk(5)

    return predict


def cpu_ms(function: Callable[[Any], Any], items: list[Any]) -> float:
    """CPU ms of one call, in all threads of this process, once warm."""
    function(items[0])
    started = time.process_time()
    for item in items:
        function(item)
    return (time.process_time() - started) / len(items) * 1000


def run_job(images: Path, output: Path, actors: int) -> tuple[float, dict[str, Any]]:
    """Run a job and return its CPU seconds and its job.json."""
    command = [sys.executable, "-m", "jobs", "label", str(images), str(output), "--json"]
    command += ["--weights", "untrained", "--actors", f"{actors}:{actors}"]
    ticks: dict[tuple[int, int], int] = {}
    deadline = time.monotonic() + JOB_TIMEOUT_S
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as job:
        while sample_descendants(ticks):
            if time.monotonic() > deadline:
                job.terminate()
                raise TimeoutError(f"{' '.join(command)} still runs after {JOB_TIMEOUT_S} s")
            time.sleep(0.2)
        report = job.communicate()[0]
    with contextlib.suppress(ChildProcessError):  # raised when none is left
        while os.waitpid(-1, os.WNOHANG)[0]:  # adopted and ended: not to be counted again
            pass
    if job.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {report.decode()}")
    return sum(ticks.values()) / os.sysconf("SC_CLK_TCK"), json.loads(report)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none gets out of sight."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def sample_descendants(ticks: dict[tuple[int, int], int]) -> bool:
    """Note what each descendant has used so far; say whether any is still running."""
    processes: dict[int, list[str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            processes[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
    family = {me := os.getpid()}
    while more := {pid for pid, stat in processes.items() if int(stat[1]) in family} - family:
        family |= more
    running = False
    for pid in family - {me}:
        state, user, system, started = (processes[pid][field] for field in (0, 11, 12, 19))
        ticks[pid, int(started)] = int(user) + int(system)
        running |= state not in "ZX"
    return running


if __name__ == "__main__":
    main()
