"""What a worker does to one chunk: fetch → decode → predict → write. Plain callables, no Ray.

`ChunkLabeller` does everything in one actor; `decode_chunk` and `ChunkPredictor` do the same in two
steps, so that decoding scales on its own.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jobs.dataset.schema import IMAGE_FAULTS, NOT_AN_IMAGE, Predicted, Row, encode_rows
from jobs.errors import JobError, StorageError
from jobs.inputs.globs import literal_folder
from jobs.job.job import Job
from jobs.job.model import load_classifier
from jobs.labelling.attempts import Attempts
from jobs.labelling.child_reader import read_isolated
from jobs.labelling.decode import Image, read_images
from jobs.labelling.summary import Summary
from jobs.labelling.tasks import ChunkTask, Columns, DecodedChunk, or_error, pack, unpack
from jobs.storage import Storage, is_s3, local_path
from model_repo.inception_v3 import Classifier, postprocess
from model_repo.inception_v3.preprocess import warm_up
from model_repo.inception_v3.spec import Pixels

Batch = tuple[list[Row], Pixels]  # rows, and uint8 [N, 3, crop, crop] of those that have pixels


@dataclass(frozen=True, slots=True)
class Worker:
    """Who runs a stage; one that died and was started again has the same `id`."""

    id: str = "none"
    restarted: bool = False


class ChunkLabeller:
    """Label whole chunks in one process: for CPUs, where nothing is gained by moving pixels."""

    def __init__(self, job: Job, this_worker: Callable[[], Worker] = Worker) -> None:
        # What decoding imports takes more than a second: meanwhile the input is listed.
        threading.Thread(target=warm_up, args=(job.inference.model,), daemon=True).start()
        self._job = job
        self._classifier = or_error(_load, job, this_worker())

    def __call__(self, columns: Columns) -> Columns:
        """Take a `ChunkTask`, write its rows, and return its `Summary`."""
        return pack(or_error(self._label, columns))

    def _label(self, columns: Columns) -> Summary:
        task, inference = unpack(columns, ChunkTask), self._job.inference
        size = min(inference.batch_size, task.objects.num_rows)
        batches = batch_images(read_chunk(task, self._job), size, inference.model.crop_size)
        return _label_batches(task, batches, _loaded(self._classifier), self._job)


def decode_chunk(columns: Columns, job: Job) -> Columns:
    """Take a `ChunkTask`, fetch and decode its images; the encoded bytes end here.

    Returns:
        A `DecodedChunk`, with pixels that the next call may write over.
    """
    decoded = or_error(_decode, columns, job)
    if isinstance(decoded, JobError):
        return pack(decoded, _empty_pixels(0, job.inference.model.crop_size))
    return pack(*decoded)


def _decode(columns: Columns, job: Job) -> tuple[DecodedChunk, Pixels]:
    started, started_cpu = time.monotonic(), time.process_time()
    task = unpack(columns, ChunkTask)
    memory = _chunk_memory(task.objects.num_rows, job.inference.model.crop_size)
    rows, pixels = _take_images(read_chunk(task, job), memory)
    seconds, cpu_s = time.monotonic() - started, time.process_time() - started_cpu
    return DecodedChunk(task, rows, seconds, cpu_s, decoded_at=time.time()), pixels


class ChunkPredictor:
    """Predict and write chunks that `decode_chunk` has decoded; threads may share it."""

    def __init__(self, job: Job, this_worker: Callable[[], Worker] = Worker) -> None:
        self._job = job
        self._worker = this_worker()
        self._classifier = or_error(_load, job, self._worker)

    def __call__(self, columns: Columns) -> Columns:
        """Take a `DecodedChunk`, write its rows, and return its `Summary`."""
        return pack(or_error(self._label, columns))

    def _label(self, columns: Columns) -> Summary:
        chunk, pixels = unpack(columns, DecodedChunk), columns["pixels"][0]
        ahead_s = max(0.0, time.time() - chunk.decoded_at)
        if self._worker.restarted:  # perhaps it died of this chunk, and Ray repeats this step alone
            _attempts(self._job).begin_chunk(chunk.task.id)
        size = self._job.inference.batch_size
        # The batches are views: what lies in the object store is copied once, to the device.
        views = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        batches = [(chunk.rows, pixels[:0]), *(([], view) for view in views)]
        summary = _label_batches(chunk.task, batches, _loaded(self._classifier), self._job)
        return summary + Summary(seconds=chunk.seconds, cpu_s=chunk.cpu_s, ahead_s=ahead_s)


def read_chunk(task: ChunkTask, job: Job) -> Iterator[Image]:
    """Begin an attempt at a chunk: fetch and decode, in a child process if an earlier one died."""
    _check_input_is_here(job.spec.input)
    died_before = _attempts(job).begin_chunk(task.id)
    read = read_isolated if died_before else read_images
    return read(task.objects, job.inference)


def batch_images(images: Iterable[Image], size: int, crop_size: int) -> Iterator[Batch]:
    """Collect images until `size` of them have pixels; the last batch may be smaller.

    Yields:
        Rows, and uint8 [N, 3, crop, crop] of those that have pixels, N ≤ `size`.
    """
    images = iter(images)
    while True:
        rows, pixels = _take_images(images, _empty_pixels(size, crop_size))
        if not rows:
            return
        yield rows, pixels


def predict_images(
    classifier: Classifier, batches: Iterable[Batch], top_k: int
) -> tuple[list[Row], Predicted]:
    """Run the model over batches of images; rows come back in order."""
    rows: list[Row] = []
    predicted = Predicted()
    for some, pixels in batches:
        rows += some
        if len(pixels):
            predicted.add(_predict(classifier, pixels, top_k))
    return rows, predicted


def _label_batches(
    task: ChunkTask, batches: Iterable[Batch], classifier: Classifier, job: Job
) -> Summary:
    """Predict the images of a chunk, and write its rows with one atomic PUT."""
    # On GPUs a process labels several chunks at a time, each in its thread.
    cpu_clock = time.thread_time if job.placement.separate_decode else time.process_time
    started, started_cpu = time.monotonic(), cpu_clock()
    rows, predicted = predict_images(classifier, batches, job.inference.top_k)
    predicted_at = time.monotonic()
    data = encode_rows(job.schema, task.objects, rows, predicted, job.inference.origin)
    Storage().write(job.layout.chunk(task.id), data)
    _attempts(job).end(task.id)
    ended = time.monotonic()
    return Summary(
        objects=len(rows),
        errors=sum(row.error_kind is not None for row in rows),
        faults=sum(row.error_kind in IMAGE_FAULTS for row in rows),
        not_images=sum(row.error_kind == NOT_AN_IMAGE for row in rows),
        seconds=ended - started,
        total=task.total,
        model_s=predicted.seconds,
        write_s=ended - predicted_at,
        cpu_s=cpu_clock() - started_cpu,
    )


def _load(job: Job, worker: Worker) -> Classifier:
    attempts = _attempts(job)
    attempts.begin_loading(worker.id)
    classifier = load_classifier(job.inference, Storage())
    attempts.end(worker.id)
    return classifier


def _loaded(classifier: Classifier | JobError) -> Classifier:
    if isinstance(classifier, JobError):
        raise classifier
    return classifier


def _attempts(job: Job) -> Attempts:
    return Attempts(job.layout, job.run_id)


def _check_input_is_here(input_uri: str) -> None:
    """Raise a StorageError on a node without the file system: its objects are not gone."""
    root = literal_folder(input_uri)
    if not is_s3(root) and not os.path.lexists(local_path(root)):
        raise StorageError(
            f"{root} does not exist on {socket.gethostname()}; every node needs it at that path"
        )


def _take_images(images: Iterable[Image], memory: Pixels) -> Batch:
    """Take images until `memory` is full of pixels; return their rows, and what it holds."""
    rows, count = list[Row](), 0
    for image in images:
        rows.append(image.row)
        if image.pixels is not None:
            memory[count] = image.pixels
            count += 1
            if count == len(memory):
                break
    return rows, memory[:count]


@lru_cache(maxsize=1)
def _chunk_memory(size: int, crop_size: int) -> Pixels:
    """Return memory for the pixels of a chunk: the same again for the next one.

    New memory is zeroed by the kernel, which takes 5 % of what decoding takes. Ray has copied a
    chunk into its object store before the next one is decoded here.
    """
    return _empty_pixels(size, crop_size)


def _empty_pixels(size: int, crop_size: int) -> Pixels:
    return np.empty((size, 3, crop_size, crop_size), np.uint8)


def _predict(classifier: Classifier, pixels: Pixels, top_k: int) -> Predicted:
    started = time.monotonic()
    outputs = classifier.predict(pixels)
    predictions = postprocess(outputs.logits, classifier.spec.labels, top_k)
    embeddings = [] if outputs.embedding is None else [outputs.embedding]
    features = {layer: [maps] for layer, maps in outputs.features.items()}
    return Predicted(predictions, embeddings, features, time.monotonic() - started)
