"""Objects → decoded images, or why there are none: fetch and decode, ahead of the consumer."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from jobs.dataset.schema import Row
from jobs.errors import FetchError
from jobs.inputs.ahead import run_ahead
from jobs.inputs.fetch import fetch_images
from jobs.job.inference import InferenceSpec
from jobs.labelling.gzipped import undo_gzip
from jobs.storage import Fetched, Storage
from model_repo.inception_v3 import DecodeError, preprocess
from model_repo.inception_v3.spec import Pixels

_DECODED_AHEAD = 32


@dataclass(frozen=True, slots=True)
class Image:
    """One object after decoding; `pixels` uint8 [3, crop, crop], or None for an error row."""

    row: Row
    pixels: Pixels | None


def read_images(objects: pa.Table, inference: InferenceSpec) -> Iterator[Image]:
    """Fetch and decode every object, in order; what fails becomes an error row.

    A thread decodes ahead of the consumer, beside the forward pass.

    Raises:
        StorageError: the storage itself fails.
    """
    listed_etags = objects.column("etag").to_pylist()
    fetched = fetch_images(Storage(), objects, image_column=inference.image_column)
    calls = (
        (1, partial(decode_object, index, result, listed_etags[index], inference))
        for index, result in fetched
    )
    return run_ahead(calls, threads=1, ahead=_DECODED_AHEAD, name="decode")


def decode_object(
    index: int, fetched: Fetched | FetchError, listed_etag: str | None, inference: InferenceSpec
) -> Image:
    """Decode one object; what cannot be decoded becomes an error row."""
    if isinstance(fetched, FetchError):
        return _failed(index, listed_etag, fetched)
    try:
        data = undo_gzip(fetched.data)
        decoded = preprocess(data, inference.model, max_pixels=inference.max_pixels)
    except FetchError as exc:
        return _failed(index, fetched.etag, exc)
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
