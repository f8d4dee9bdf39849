"""A process that does a job's stages on a sample, to see what they cost.

Processes, as the job's actors are: in threads of one process OpenVINO runs one model after another.
"""

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.dataset.schema import Predicted, Row, encode_rows
from jobs.errors import FetchError
from jobs.job.job import Job
from jobs.job.model import load_classifier
from jobs.labelling.child_reader import die_with
from jobs.labelling.decode import Image, decode_object
from jobs.labelling.stages import batch_images, predict_images
from jobs.storage import Fetched, Storage
from model_repo.inception_v3.preprocess import warm_up
from model_repo.inception_v3.spec import Pixels

_FORWARD_S = 1.5
_OUTPUT_BYTES = 128 * 1024 * 1024  # that one rehearsal of the forward pass may return
_ROW_BYTES = 32 * 1024  # of a prediction's objects, at most


Broken = tuple[str, str, str]  # uri, kind, sentence
Batches = Iterator[tuple[list[Row], Pixels]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What some images cost one process: CPU seconds, and seconds by the clock."""

    images: int
    cpu_s: float
    wall_s: float


class Rehearsal:
    """Some objects of the sample, and a model."""

    def __init__(
        self, job: Job, objects: pa.Table, fetched: Sequence[Fetched | FetchError]
    ) -> None:
        self._job = job
        self._objects = objects
        self._fetched = fetched
        crop_size = job.inference.model.crop_size
        black = np.zeros((3, crop_size, crop_size), np.uint8)
        self._use([Image(Row(index=0, etag=None), black)])  # where no image is a good one
        self._rows: list[Row] = []
        self._predicted = Predicted()

    def load(self) -> float:
        """Load the model; return the seconds it took. Everything else comes after."""
        started = time.monotonic()
        self._classifier = load_classifier(self._job.inference, Storage())
        return time.monotonic() - started

    def decode(self, threads: int) -> tuple[Cost, list[Broken]]:
        """Decode every object; return what that cost, and what could not be labelled."""
        warm_up(self._job.inference.model)  # what this loads is not an image's cost
        started = time.monotonic()
        with ThreadPoolExecutor(threads) as pool:
            timed = list(pool.map(self._decode, range(len(self._fetched))))
        wall_s = time.monotonic() - started
        images = [image for image, _ in timed]
        self._use([x for x in images if x.pixels is not None] or self._images)
        cost = Cost(len(timed), sum(cpu_s for _, cpu_s in timed), wall_s)
        uris = self._objects.column("uri").to_pylist()
        rows = [image.row for image in images]
        return cost, [(uris[x.index], x.error_kind, x.error or "") for x in rows if x.error_kind]

    def forward(self, batch_size: int) -> Cost:
        """Predict in batches of `batch_size` for a while; pixels to predictions.

        As many threads do so as chunks are in hand.
        """
        crop_size = self._job.inference.model.crop_size
        batches: Callable[[], Batches] = partial(batch_images, self._next, batch_size, crop_size)
        if self._job.placement.separate_decode:  # an actor with a GPU gets its batches made
            made = list(itertools.islice(batches(), max(1, len(self._images) // batch_size)))
            batches = partial(itertools.cycle, made)
        with ThreadPoolExecutor(self._job.placement.chunks_in_hand) as pool:

            def predict(until: float) -> list[tuple[list[Row], Predicted]]:
                count = self._job.placement.chunks_in_hand
                supplies = [self._supply(batches(), batch_size, until) for _ in range(count)]
                return list(pool.map(self._predict, supplies))

            predict(0)  # to warm up
            started, started_cpu = time.monotonic(), time.process_time()
            found = predict(started + _FORWARD_S)
            cpu_s, wall_s = time.process_time() - started_cpu, time.monotonic() - started
        for rows, predicted in found:
            if not self._rows or len(self._rows) < self._most_rows:
                self._keep(rows, predicted)
        return Cost(sum(len(rows) for rows, _ in found), cpu_s, wall_s)

    def write(self, to_output: bool) -> tuple[Cost, float]:
        """Write what was predicted, to nowhere or to the output; return cost and bytes per row."""
        nothing = self._encode([], Predicted())
        # Of each image once: the same ones over and over compress better.
        count = min(len(self._images), len(self._rows))
        first = self._predicted.first(count)
        once = self._encode(self._rows[:count], first)
        uri = f"{self._job.layout.probe}-{os.getpid()}" if to_output else None
        started, started_cpu = time.monotonic(), time.process_time()
        data = self._encode(self._rows, self._predicted)
        if uri:
            Storage().write(uri, data)
        cpu_s, wall_s = time.process_time() - started_cpu, time.monotonic() - started
        if uri:
            Storage().delete([uri])
        return Cost(len(self._rows), cpu_s, wall_s), (len(once) - len(nothing)) / count

    def _encode(self, rows: list[Row], predicted: Predicted) -> bytes:
        job = self._job
        return encode_rows(job.schema, self._objects, rows, predicted, job.inference.origin)

    def _decode(self, index: int) -> tuple[Image, float]:
        started = time.thread_time()
        image = decode_object(index, self._fetched[index], None, self._job.inference)
        return image, time.thread_time() - started

    def _use(self, images: list[Image]) -> None:
        self._images = images
        self._next = itertools.cycle(images)

    def _predict(self, batches: Batches) -> tuple[list[Row], Predicted]:
        return predict_images(self._classifier, batches, self._job.inference.top_k)

    @property
    def _most_rows(self) -> int:
        return _OUTPUT_BYTES // max(self._job.inference.row_bytes, _ROW_BYTES)

    def _keep(self, rows: list[Row], predicted: Predicted) -> None:
        self._rows += rows
        self._predicted.predictions += predicted.predictions
        self._predicted.embeddings += predicted.embeddings
        for layer, maps in predicted.features.items():
            self._predicted.features.setdefault(layer, []).extend(maps)

    def _supply(self, batches: Batches, batch_size: int, until: float) -> Batches:
        """Yield of endless batches until the time has come."""
        most, count = self._most_rows // self._job.placement.chunks_in_hand, 0
        while not count or (time.monotonic() < until and count + batch_size <= most):
            yield next(batches)
            count += batch_size


class RehearsalProcess(BaseManager):
    """A process for one `Rehearsal`; a context manager."""

    Rehearsal: Any

    def __init__(self) -> None:
        super().__init__(ctx=get_context("spawn"))

    def __enter__(self) -> "RehearsalProcess":
        self.start(_begin, (os.getpid(),))
        return self


RehearsalProcess.register("Rehearsal", Rehearsal)


def _begin(parent_id: int) -> None:
    die_with(parent_id)
    os.environ["OMP_NUM_THREADS"] = "1"  # as Ray sets it for an actor
