"""What a worker does to one chunk: fetch → decode → predict → write. Plain callables, no Ray.

In the dataset that runs through them a row is a chunk. `ChunkLabeller` does everything in one
actor; `decode_chunk` and `ChunkPredictor` do the same in two steps, so that decoding scales on its
own.
"""

import io
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.dataset.schema import IMAGE_FAULTS, Predicted, Row, build_rows
from jobs.errors import StorageError
from jobs.inputs.objects import literal_folder
from jobs.job.job import Plan
from jobs.job.model import load_classifier
from jobs.labelling.attempts import begin_chunk, begin_loading, end_chunk, end_loading
from jobs.labelling.child_reader import read_carefully
from jobs.labelling.decode import Image, Pixels, read_images
from jobs.listing.chunks import unpack_table
from jobs.storage import Storage, is_s3, local_path
from model_repo.inception_v3 import Classifier, postprocess
from model_repo.inception_v3.preprocess import warm_up

Batch = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Worker:
    """Who runs a stage; `id` stays the same when one that died is started again."""

    id: str
    restarted: bool


def _nobody() -> Worker:
    return Worker("none", restarted=False)


class ChunkLabeller:
    """Label whole chunks in one process: for CPUs, where nothing is gained by moving pixels."""

    def __init__(self, plan: Plan, this_worker: Callable[[], Worker] = _nobody) -> None:
        # What decoding imports takes more than a second: meanwhile the input is listed.
        threading.Thread(target=warm_up, args=(plan.model,), daemon=True).start()
        self._plan = plan
        self._classifier = _load(plan, this_worker())

    def __call__(self, batch: Batch) -> Batch:
        """Take a batch of one chunk, write its rows, and return its summary."""
        size = min(self._plan.batch_size, unpack_table(batch["objects"][0]).num_rows)
        batches = batch_images(read_chunk(batch, self._plan), size, self._plan)
        return label_images(batches, batch, self._classifier, self._plan)


def decode_chunk(batch: Batch, plan: Plan) -> Batch:
    """Fetch and decode a batch of one chunk; the encoded bytes end here.

    Returns:
        The batch with its rows, and pixels that the next call may write over.
    """
    started, started_cpu = time.monotonic(), time.process_time()
    size = unpack_table(batch["objects"][0]).num_rows
    memory = _chunk_memory(size, plan.model.crop_size)
    rows, pixels = _take_images(read_chunk(batch, plan), memory)
    took = {
        "seconds": [time.monotonic() - started],
        "cpu_s": [time.process_time() - started_cpu],
        "decoded_at": [time.time()],  # by a clock that other processes and nodes have as well
    }
    return {**batch, "rows": [pickle.dumps(rows)], "pixels": [pixels], **took}


class ChunkPredictor:
    """Predict and write chunks that `decode_chunk` has decoded; threads may share it."""

    def __init__(self, plan: Plan, this_worker: Callable[[], Worker] = _nobody) -> None:
        self._plan = plan
        self._worker = this_worker()
        self._classifier = _load(plan, self._worker)

    def __call__(self, batch: Batch) -> Batch:
        """Take a batch of one decoded chunk, write its rows, and return its summary."""
        if self._worker.restarted:  # perhaps it died of this chunk, and Ray repeats this step alone
            begin_chunk(batch["id"][0], self._plan)
        rows, pixels = pickle.loads(batch["rows"][0]), batch["pixels"][0]
        size = self._plan.batch_size
        # The batches are views: what lies in the object store is copied once, to the device.
        views = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        batches = [(rows, pixels[:0]), *(([], view) for view in views)]
        return label_images(batches, batch, self._classifier, self._plan)


def read_chunk(batch: Batch, plan: Plan) -> Iterator[Image]:
    """Begin an attempt at a batch of one chunk: fetch and decode, with care if one has failed."""
    _check_input_is_here(plan)
    careful = begin_chunk(batch["id"][0], plan)
    read = read_carefully if careful else read_images
    return read(unpack_table(batch["objects"][0]), plan)


def _check_input_is_here(plan: Plan) -> None:
    """Tell a node without the file system from objects that are gone.

    Raises:
        StorageError: the input does not exist here.
    """
    root = literal_folder(plan.spec.input)
    if not is_s3(root) and not os.path.lexists(local_path(root)):
        raise StorageError(
            f"{root} does not exist on {socket.gethostname()}; every node needs it at that path"
        )


def batch_images(
    images: Iterable[Image], size: int, plan: Plan
) -> Iterator[tuple[list[Row], Pixels]]:
    """Collect images until `size` of them have pixels, the last as they come.

    Yields:
        Rows, and uint8 [N, 3, crop, crop] of those that have pixels, N ≤ `size`.
    """
    images, crop_size = iter(images), plan.model.crop_size
    while True:
        rows, pixels = _take_images(images, np.empty((size, 3, crop_size, crop_size), np.uint8))
        if not rows:
            return
        yield rows, pixels


def _take_images(images: Iterable[Image], memory: Pixels) -> tuple[list[Row], Pixels]:
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
    return np.empty((size, 3, crop_size, crop_size), np.uint8)


def label_images(
    batches: Iterable[tuple[list[Row], Pixels]], batch: Batch, classifier: Classifier, plan: Plan
) -> Batch:
    """Predict and write a batch of one chunk; return its summary, as columns."""
    # On GPUs a process labels several chunks at a time, each in its thread.
    cpu_clock = time.thread_time if plan.separate_decode else time.process_time
    started, started_cpu, started_at = time.monotonic(), cpu_clock(), time.time()
    rows, predicted = predict_images(classifier, batches, plan)
    predicted_at = time.monotonic()
    write_chunk(batch, rows, predicted, plan)
    ended = time.monotonic()
    return {
        "objects": [len(rows)],
        "errors": [sum(row.error_kind is not None for row in rows)],
        "faults": [sum(row.error_kind in IMAGE_FAULTS for row in rows)],
        "seconds": [ended - started + batch.get("seconds", [0.0])[0]],
        "model_s": [predicted.seconds],
        "write_s": [ended - predicted_at],
        "cpu_s": [cpu_clock() - started_cpu + batch.get("cpu_s", [0.0])[0]],
        "ahead_s": [max(0.0, started_at - batch.get("decoded_at", [started_at])[0])],
        "total": batch["total"],
    }


def predict_images(
    classifier: Classifier, batches: Iterable[tuple[list[Row], Pixels]], plan: Plan
) -> tuple[list[Row], Predicted]:
    """Run the model over batches of images; rows come back in order."""
    rows: list[Row] = []
    predicted = Predicted()
    for some, pixels in batches:
        rows += some
        if len(pixels):
            _predict(classifier, pixels, plan.spec.top_k, predicted)
    return rows, predicted


def write_chunk(batch: Batch, rows: list[Row], predicted: Predicted, plan: Plan) -> None:
    """Write the rows of a batch of one chunk with one atomic PUT; that ends the attempts at it."""
    data = encode_rows(unpack_table(batch["objects"][0]), rows, predicted, plan)
    Storage().write(plan.layout.chunk(batch["id"][0]), data)
    end_chunk(batch["id"][0], plan)


def encode_rows(objects: pa.Table, rows: list[Row], predicted: Predicted, plan: Plan) -> bytes:
    """Return rows as a Parquet file."""
    table = build_rows(plan.schema, objects, rows, predicted, plan.origin)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def _load(plan: Plan, worker: Worker) -> Classifier:
    origin = (plan.model, plan.weights_sha256)
    begin_loading(worker.id, plan)
    classifier = load_classifier(plan.spec, Storage(), plan.options, origin)
    end_loading(worker.id, plan)
    return classifier


def _predict(classifier: Classifier, pixels: Pixels, top_k: int, predicted: Predicted) -> None:
    started = time.monotonic()
    outputs = classifier.predict(pixels)
    predicted.predictions += postprocess(outputs.logits, classifier.spec.labels, top_k)
    if outputs.embedding is not None:
        predicted.embeddings.append(outputs.embedding)
    for layer, maps in outputs.features.items():
        predicted.features.setdefault(layer, []).append(maps)
    predicted.seconds += time.monotonic() - started
