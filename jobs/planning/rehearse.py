"""A process that does a job's stages on a sample, to see what they cost.

Processes, as the job's actors are: in threads of one process OpenVINO runs one model after another.
"""

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from typing import Any, NamedTuple, Self

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


class Cost(NamedTuple):
    """What some images cost one process: CPU seconds, and seconds by the clock."""

    images: int
    cpu_s: float
    wall_s: float

    @classmethod
    def total(cls, costs: Iterable["Cost"]) -> "Cost":
        """Add up what several processes took."""
        return cls(*map(sum, zip(*costs, strict=True)))


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
        self._most_rows = max(1, _OUTPUT_BYTES // max(job.inference.row_bytes, _ROW_BYTES))

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
        cost = Cost(len(timed), sum(cpu_s for _, cpu_s in timed), wall_s)
        self._use([image for image, _ in timed if image.pixels is not None] or self._images)
        uris = self._objects.column("uri").to_pylist()
        rows = [image.row for image, _ in timed]
        return cost, [(uris[x.index], x.error_kind, x.error or "") for x in rows if x.error_kind]

    def forward(self, batch_size: int) -> Cost:
        """Predict in batches of `batch_size` for a while; pixels to predictions.

        As many threads do so as chunks are in hand.
        """
        count = self._job.placement.chunks_in_hand
        crop_size = self._job.inference.model.crop_size
        batches: Callable[[], Batches] = partial(batch_images, self._next, batch_size, crop_size)
        if self._job.placement.separate_decode:  # an actor with a GPU gets its batches made
            made = list(itertools.islice(batches(), max(1, len(self._images) // batch_size)))
            batches = partial(itertools.cycle, made)
        predict_supply = partial(predict_images, self._classifier, top_k=self._job.inference.top_k)
        with ThreadPoolExecutor(count) as pool:

            def predict(until: float) -> list[tuple[list[Row], Predicted]]:
                supplies = [self._supply(batches(), batch_size, until) for _ in range(count)]
                return list(pool.map(predict_supply, supplies))

            predict(0)  # to warm up
            started, started_cpu = time.monotonic(), time.process_time()
            found = predict(started + _FORWARD_S)
            cpu_s, wall_s = time.process_time() - started_cpu, time.monotonic() - started
        for rows, predicted in found:
            if len(self._rows) < self._most_rows:
                self._rows += rows
                self._predicted.add(predicted)
        return Cost(sum(len(rows) for rows, _ in found), cpu_s, wall_s)

    def write(self, to_output: bool) -> tuple[Cost, float]:
        """Write what was predicted, to nowhere or to the output; return cost and bytes per row."""
        nothing = self._encode([], Predicted())
        # Each image once: the same ones over and over compress better.
        count = min(len(self._images), len(self._rows))
        once = self._encode(self._rows[:count], self._predicted.first(count))
        uri = f"{self._job.layout.probe}-{os.getpid()}"
        started, started_cpu = time.monotonic(), time.process_time()
        data = self._encode(self._rows, self._predicted)
        if to_output:
            Storage().write(uri, data)
        cpu_s, wall_s = time.process_time() - started_cpu, time.monotonic() - started
        if to_output:
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

    def _supply(self, batches: Batches, batch_size: int, until: float) -> Batches:
        """Yield from endless batches until then."""
        most, count = self._most_rows // self._job.placement.chunks_in_hand, 0
        while not count or (time.monotonic() < until and count + batch_size <= most):
            yield next(batches)
            count += batch_size


class RehearsalProcess(BaseManager):
    """A process for one `Rehearsal`; a context manager."""

    Rehearsal: Any

    def __init__(self) -> None:
        super().__init__(ctx=get_context("spawn"))

    def __enter__(self) -> Self:
        self.start(_begin, (os.getpid(),))
        return self


RehearsalProcess.register("Rehearsal", Rehearsal)


def _begin(parent_id: int) -> None:
    die_with(parent_id)
    os.environ["OMP_NUM_THREADS"] = "1"  # as Ray sets it for an actor
