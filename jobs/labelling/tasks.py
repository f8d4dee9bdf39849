"""What travels between the stages: one row of Ray's dataset is one chunk.

A stage unpacks its row in its first line, and packs what it returns. One that fails returns the
error, which unpacking raises: Ray loses the class of an exception on its way.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from jobs.dataset.schema import Row
from jobs.errors import JobError
from model_repo.inception_v3 import ModelError
from model_repo.inception_v3.spec import Pixels

T = TypeVar("T")
Columns = dict[str, Any]  # of a dataset with one row: name → a sequence of one value

# What a worker may raise for the user to read.
OUR_ERRORS = (JobError, ModelError)

_VALUE = "value"


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """A chunk to label.

    Attributes:
        objects: rows in `OBJECT_SCHEMA`, and carried columns.
        total: objects in the whole listing, once that is known.
    """

    id: str
    objects: pa.Table
    total: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Compressed, since the driver holds the small blocks that wait for a worker.
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(sink, self.objects.schema, options=options) as writer:
            writer.write_table(self.objects)
        return _unpack_task, (self.id, sink.getvalue().to_pybytes(), self.total)


@dataclass(frozen=True, slots=True)
class DecodedChunk:
    """A chunk whose images are decoded; their pixels travel beside it.

    Attributes:
        rows: one for each object of `task`.
        seconds, cpu_s: what fetching and decoding took.
        decoded_at: when they ended, by a clock that other processes and nodes share.
    """

    task: ChunkTask
    rows: list[Row]
    seconds: float
    cpu_s: float
    decoded_at: float


def pack(value: object, pixels: Pixels | None = None) -> Columns:
    """Make a row; `pixels`, uint8 [N, 3, crop, crop], get a column that is not copied."""
    columns = {_VALUE: [pickle.dumps(value)]}
    return columns if pixels is None else columns | {"pixels": [pixels]}


def unpack(columns: Columns, kind: type[T]) -> T:
    """Undo `pack`.

    Raises:
        JobError: what was packed is one.
    """
    value = pickle.loads(columns[_VALUE][0])
    if isinstance(value, JobError):
        raise value
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def or_error(work: Callable[..., T], *arguments: Any) -> T | JobError:
    """Call `work`; return the error where it raises one that is for the user to read."""
    try:
        return work(*arguments)
    except OUR_ERRORS as exc:
        return to_job_error(exc)


def to_job_error(error: Exception) -> JobError:
    """Return what the driver raises for one of `OUR_ERRORS`."""
    return error if isinstance(error, JobError) else JobError(str(error))


def _unpack_task(chunk_id: str, packed: bytes, total: int | None) -> ChunkTask:
    with pa.ipc.open_stream(packed) as reader:
        return ChunkTask(chunk_id, reader.read_all(), total)
