"""The bound: as many single-threaded processes as there are cores decode and label, and no more.

They make the job's own calls, `preprocess` and `Classifier.predict`, without Ray, storage or rows,
and all at the same time, since cores share caches, memory and clock rate with one another.
"""

import json
import os
import subprocess
import sys
import time
from typing import Any

from jobs.resources import count_cores
from tests.benchmarks.harness import Figures

_IMAGES = 100


def measure_bound(seconds: float, precision: str | None = "fp32") -> Figures:
    """Return images/s of all cores, and CPU ms per image of decoding and of the network.

    Args:
        seconds: that they work.
        precision: of the network; None leaves it out.
    """
    cores = count_cores()
    command = [sys.executable, "-m", "tests.benchmarks.bound", str(seconds), precision or ""]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # what Ray gives an actor of one CPU
    pipe = subprocess.PIPE
    workers = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True)
        for _ in range(cores)
    ]
    for worker in workers:
        worker.stdout.readline()  # it is ready
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    answers = [json.loads(worker.communicate()[0]) for worker in workers]
    images = sum(answer["images"] for answer in answers)
    return {
        "images_per_s": sum(answer["images"] / answer["wall_s"] for answer in answers),
        "cpu_ms": sum(x["decode_s"] + x["forward_s"] for x in answers) / images * 1000,
        "decode_cpu_ms": sum(answer["decode_s"] for answer in answers) / images * 1000,
        "forward_cpu_ms": sum(answer["forward_s"] for answer in answers) / images * 1000,
    }


def _work(seconds: float, precision: Any) -> Figures:
    """Say that all is loaded and warm, wait for a line, then decode and label until time is up."""
    import numpy as np  # noqa: PLC0415 - and all the rest here, where the measuring process is not

    from model_repo.inception_v3 import (  # noqa: PLC0415
        Classifier,
        RuntimeOptions,
        find_weights,
        load_model,
        preprocess,
    )
    from tests.benchmarks.images import imagenet_photos  # noqa: PLC0415

    size = (model := load_model()).spec.max_batch_size
    weights = find_weights(model, "untrained")
    options = RuntimeOptions(device="cpu", precision=precision)
    predict = Classifier.load(model, weights, options).predict if precision else lambda _: None
    photos = imagenet_photos(_IMAGES)
    predict(np.stack([preprocess(data).pixels for data in photos[:size]]))
    print("ready", flush=True)
    sys.stdin.readline()
    images, decode_s, forward_s = 0, 0.0, 0.0
    started = time.perf_counter()
    while time.perf_counter() < started + seconds:
        batch = [photos[(images + i) % _IMAGES] for i in range(size)]
        before = time.process_time()
        pixels = np.stack([preprocess(data).pixels for data in batch])
        decoded = time.process_time()
        predict(pixels)
        decode_s += decoded - before
        forward_s += time.process_time() - decoded
        images += size
    wall_s = time.perf_counter() - started
    return {"images": images, "wall_s": wall_s, "decode_s": decode_s, "forward_s": forward_s}


if __name__ == "__main__":
    print(json.dumps(_work(float(sys.argv[1]), sys.argv[2])))
