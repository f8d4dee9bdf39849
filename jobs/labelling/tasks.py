"""What travels between the stages: one row of Ray's dataset is one chunk.

A stage unpacks its row in its first line, and packs what it returns. Who has failed returns a
`Failure`, which unpacking raises again.
"""

import pickle
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from jobs.dataset.schema import Row
from jobs.labelling.summary import Failure
from model_repo.inception_v3.spec import Pixels

T = TypeVar("T")
Columns = dict[str, Any]  # of a dataset with one row: name → a sequence of one value

_VALUE = "value"


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """A chunk to label.

    Attributes:
        id: of the chunk.
        objects: rows in `OBJECT_SCHEMA`, and what is carried.
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
        task: the chunk.
        rows: of its objects.
        seconds, cpu_s: that fetching and decoding took.
        decoded_at: when that was done, by a clock that other processes and nodes have as well.
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
        JobError: the row is a `Failure`.
    """
    value = pickle.loads(columns[_VALUE][0])
    if isinstance(value, Failure):
        raise value.to_error()
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def _unpack_task(chunk_id: str, packed: bytes, total: int | None) -> ChunkTask:
    with pa.ipc.open_stream(packed) as reader:
        return ChunkTask(chunk_id, reader.read_all(), total)
