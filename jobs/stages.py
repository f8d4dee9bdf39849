"""What a worker does to one chunk: fetch → decode → predict → write. Plain callables, no Ray.

In the dataset that runs through them a row is a chunk. `ChunkLabeller` does everything in one
actor; `decode_chunk` and `ChunkPredictor` do the same in two steps, so that decoding scales on its
own.
"""

import io
import os
import pickle
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.attempts import begin_chunk, begin_loading, end_chunk, end_loading
from jobs.chunks import unpack_table
from jobs.errors import StorageError
from jobs.inputs.listing import literal_folder
from jobs.isolation import read_carefully
from jobs.models import load_classifier
from jobs.plan import Plan
from jobs.read import Image, Pixels, read_images
from jobs.schema import IMAGE_FAULTS, Predicted, Row, build_rows
from jobs.storage import Storage, is_s3, local_path
from model_repo.inception_v3 import Classifier, postprocess

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
        self._plan = plan
        self._classifier = _load(plan, this_worker())

    def __call__(self, batch: Batch) -> Batch:
        """Take a batch of one chunk, write its rows, and return its summary."""
        images = read_chunk(batch, self._plan)
        return label_images(images, batch, self._classifier, self._plan)


def decode_chunk(batch: Batch, plan: Plan) -> Batch:
    """Fetch and decode a batch of one chunk; the encoded bytes end here."""
    started_cpu = time.process_time()
    images = list(read_chunk(batch, plan))
    size = plan.model.crop_size
    decoded = [image.pixels for image in images if image.pixels is not None]
    pixels = np.stack(decoded) if decoded else np.empty((0, 3, size, size), np.uint8)
    rows = pickle.dumps([image.row for image in images])
    cpu_s = time.process_time() - started_cpu
    return {**batch, "rows": [rows], "pixels": [pixels], "cpu_s": [cpu_s]}


class ChunkPredictor:
    """Predict and write chunks that `decode_chunk` has decoded."""

    def __init__(self, plan: Plan, this_worker: Callable[[], Worker] = _nobody) -> None:
        self._plan = plan
        self._worker = this_worker()
        self._classifier = _load(plan, self._worker)

    def __call__(self, batch: Batch) -> Batch:
        """Take a batch of one decoded chunk, write its rows, and return its summary."""
        if self._worker.restarted:  # perhaps it died of this chunk, and Ray repeats this step alone
            begin_chunk(batch["id"][0], self._plan)
        decoded = iter(batch["pixels"][0])
        images = (
            Image(row, None if row.error_kind else next(decoded))
            for row in pickle.loads(batch["rows"][0])
        )
        return label_images(images, batch, self._classifier, self._plan)


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


def label_images(
    images: Iterable[Image], batch: Batch, classifier: Classifier, plan: Plan
) -> Batch:
    """Predict and write a batch of one chunk; return its summary, as columns."""
    started, started_cpu = time.monotonic(), time.process_time()
    rows, predicted = predict_images(classifier, images, plan)
    predicted_at = time.monotonic()
    write_chunk(batch, rows, predicted, plan)
    ended = time.monotonic()
    return {
        "objects": [len(rows)],
        "errors": [sum(row.error_kind is not None for row in rows)],
        "faults": [sum(row.error_kind in IMAGE_FAULTS for row in rows)],
        "seconds": [ended - started],
        "model_s": [predicted.seconds],
        "write_s": [ended - predicted_at],
        "cpu_s": [time.process_time() - started_cpu + batch.get("cpu_s", [0.0])[0]],
        "total": batch["total"],
    }


def predict_images(
    classifier: Classifier, images: Iterable[Image], plan: Plan
) -> tuple[list[Row], Predicted]:
    """Run the model over the images that have pixels, in batches; rows come back in order."""
    rows: list[Row] = []
    pending: list[Pixels] = []
    predicted = Predicted()
    for image in images:
        rows.append(image.row)
        if image.pixels is not None:
            pending.append(image.pixels)
        if len(pending) == plan.batch_size:
            _predict(classifier, pending, plan.spec.top_k, predicted)
            pending = []
    if pending:
        _predict(classifier, pending, plan.spec.top_k, predicted)
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


def _predict(
    classifier: Classifier, pixels: list[Pixels], top_k: int, predicted: Predicted
) -> None:
    started = time.monotonic()
    outputs = classifier.predict(np.stack(pixels))
    predicted.predictions += postprocess(outputs.logits, classifier.spec.labels, top_k)
    if outputs.embedding is not None:
        predicted.embeddings.append(outputs.embedding)
    for layer, maps in outputs.features.items():
        predicted.features.setdefault(layer, []).append(maps)
    predicted.seconds += time.monotonic() - started
