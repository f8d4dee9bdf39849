"""Objects → decoded images, or why there are none: fetch and decode, ahead of the consumer."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.dataset.schema import Row
from jobs.errors import FetchError
from jobs.inputs.fetch import fetch_images
from jobs.job.job import Plan
from jobs.storage import Fetched, Storage
from model_repo.inception_v3 import DecodeError, preprocess

Pixels = npt.NDArray[np.uint8]

_DECODED_AHEAD = 32


@dataclass(frozen=True, slots=True)
class Image:
    """One object after decoding; `pixels` uint8 [3, crop, crop], or None for an error row."""

    row: Row
    pixels: Pixels | None


def read_images(objects: pa.Table, plan: Plan) -> Iterator[Image]:
    """Fetch and decode every object, in order; what fails is an error row.

    A thread decodes ahead of the consumer, so that decoding goes on beside the forward pass.

    Raises:
        StorageError: the storage itself fails.
    """
    listed_etags = objects.column("etag").to_pylist()
    fetched = fetch_images(Storage(), objects, image_column=plan.spec.image_column)
    decoding: deque[Future[Image]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as decoder:
        for index, result in fetched:
            decoding.append(decoder.submit(decode_object, index, result, listed_etags[index], plan))
            if len(decoding) > _DECODED_AHEAD:
                yield decoding.popleft().result()
        while decoding:
            yield decoding.popleft().result()


def decode_object(
    index: int, fetched: Fetched | FetchError, listed_etag: str | None, plan: Plan
) -> Image:
    """Decode one object; what cannot be is an error row."""
    if isinstance(fetched, FetchError):
        return _failed(index, listed_etag, fetched)
    try:
        decoded = preprocess(fetched.data, plan.model, max_pixels=plan.spec.max_pixels)
    except DecodeError as exc:
        remedy = "; raise it with --max-pixels" if exc.kind == "too_large" else ""
        return _failed(index, fetched.etag, DecodeError(exc.kind, f"{exc}{remedy}"))
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
