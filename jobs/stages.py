"""What a worker does to one chunk: fetch → decode → predict → write. Plain callables, no Ray.

In the dataset that runs through them a row is a chunk. `ChunkLabeller` does everything in one
actor; `decode_chunk` and `ChunkPredictor` do the same in two steps, so that decoding scales on its
own.
"""

import io
import pickle
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.chunks import unpack_table
from jobs.errors import FetchError
from jobs.fetch import fetch_images
from jobs.models import load_classifier
from jobs.plan import Plan
from jobs.schema import IMAGE_FAULTS, Predicted, Row, build_rows
from jobs.storage import Fetched, Storage
from model_repo.inception_v3 import Classifier, DecodeError, postprocess, preprocess

Batch = dict[str, Any]
Pixels = npt.NDArray[np.uint8]

_DECODED_AHEAD = 32


@dataclass(frozen=True, slots=True)
class Image:
    """One object after decoding; `pixels` uint8 [3, crop, crop], or None for an error row."""

    row: Row
    pixels: Pixels | None


class ChunkLabeller:
    """Label whole chunks in one process: for CPUs, where nothing is gained by moving pixels."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._classifier = _load(plan)

    def __call__(self, batch: Batch) -> Batch:
        """Take a batch of one chunk, write its rows, and return its summary."""
        objects = unpack_table(batch["objects"][0])
        images = read_images(objects, self._plan)
        return label_images(images, batch, self._classifier, self._plan)


def decode_chunk(batch: Batch, plan: Plan) -> Batch:
    """Fetch and decode a batch of one chunk; the encoded bytes end here."""
    objects = unpack_table(batch["objects"][0])
    images = list(read_images(objects, plan))
    size = plan.model.crop_size
    decoded = [image.pixels for image in images if image.pixels is not None]
    pixels = np.stack(decoded) if decoded else np.empty((0, 3, size, size), np.uint8)
    rows = pickle.dumps([image.row for image in images])
    return {**batch, "rows": [rows], "pixels": [pixels]}


class ChunkPredictor:
    """Predict and write chunks that `decode_chunk` has decoded."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._classifier = _load(plan)

    def __call__(self, batch: Batch) -> Batch:
        """Take a batch of one decoded chunk, write its rows, and return its summary."""
        decoded = iter(batch["pixels"][0])
        images = (
            Image(row, None if row.error_kind else next(decoded))
            for row in pickle.loads(batch["rows"][0])
        )
        return label_images(images, batch, self._classifier, self._plan)


def read_images(objects: pa.Table, plan: Plan) -> Iterator[Image]:
    """Fetch and decode every object, in order; what fails is an error row.

    A thread decodes ahead of the consumer, so that decoding goes on beside the forward pass.
    """
    listed_etags = objects.column("etag").to_pylist()
    fetched = fetch_images(Storage(), objects, image_column=plan.spec.image_column)
    decoding: deque[Future[Image]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as decoder:
        for index, result in fetched:
            decoding.append(decoder.submit(_decode, index, result, listed_etags[index], plan))
            if len(decoding) > _DECODED_AHEAD:
                yield decoding.popleft().result()
        while decoding:
            yield decoding.popleft().result()


def label_images(
    images: Iterable[Image], batch: Batch, classifier: Classifier, plan: Plan
) -> Batch:
    """Predict and write a batch of one chunk; return its summary, as columns."""
    started = time.monotonic()
    rows, predicted = predict_images(classifier, images, plan)
    write_chunk(batch, rows, predicted, plan)
    return {
        "objects": [len(rows)],
        "errors": [sum(row.error_kind is not None for row in rows)],
        "faults": [sum(row.error_kind in IMAGE_FAULTS for row in rows)],
        "seconds": [time.monotonic() - started],
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
    """Write the rows of a batch of one chunk with one atomic PUT."""
    objects = unpack_table(batch["objects"][0])
    table = build_rows(plan.schema, objects, rows, predicted, plan.origin)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    Storage().write(plan.layout.chunk(batch["id"][0]), buffer.getvalue())


def _load(plan: Plan) -> Classifier:
    origin = (plan.model, plan.weights_sha256)
    return load_classifier(plan.spec, Storage(), plan.options, origin)


def _decode(
    index: int, fetched: Fetched | FetchError, listed_etag: str | None, plan: Plan
) -> Image:
    if isinstance(fetched, FetchError):
        return _failed(index, listed_etag, fetched)
    try:
        decoded = preprocess(fetched.data, plan.model, max_pixels=plan.spec.max_pixels)
    except DecodeError as exc:
        return _failed(index, fetched.etag, exc)
    row = Row(
        index=index,
        etag=fetched.etag,
        width=decoded.width,
        height=decoded.height,
        flags=decoded.flags,
    )
    return Image(row, decoded.pixels)


def _failed(index: int, etag: str | None, error: FetchError | DecodeError) -> Image:
    row = Row(index=index, etag=etag, error_kind=error.kind, error=str(error))
    return Image(row, None)


def _predict(
    classifier: Classifier, pixels: list[Pixels], top_k: int, predicted: Predicted
) -> None:
    outputs = classifier.predict(np.stack(pixels))
    predicted.predictions += postprocess(outputs.logits, classifier.spec.labels, top_k)
    if outputs.embedding is not None:
        predicted.embeddings.append(outputs.embedding)
    for layer, maps in outputs.features.items():
        predicted.features.setdefault(layer, []).append(maps)
