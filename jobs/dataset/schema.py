"""The columns of a predictions dataset, and its rows."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.dataset.parquet import encode_table
from model_repo.inception_v3.postprocess import Prediction
from model_repo.inception_v3.spec import EMBEDDING_SIZE, FEATURE_SHAPES

LABEL_TYPE = pa.struct([("index", pa.int32()), ("label", pa.string()), ("score", pa.float32())])
_to_struct = attrgetter("index", "label", "score")  # `asdict` takes 60 times as long

# Columns that rows under outcome=error have on top of the others.
ERROR_COLUMNS = ("error_kind", "error")
_OF_A_ROW = ("etag", "width", "height", "flags", *ERROR_COLUMNS)

# The kinds of error that are the image's own fault, and so come again; they count towards the rate.
IMAGE_FAULTS = ("unreadable", "too_large", "crashed")
# Comes again, too, and counts nowhere: there was no image.
NOT_AN_IMAGE = "not_an_image"


@dataclass(frozen=True, slots=True)
class Origin:
    """What made a prediction; the same on every row of a job."""

    model: str
    model_version: str
    weights_sha256: str
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one object: an error, or what was seen of the image.

    Attributes:
        index: its place among the chunk's objects.
        error_kind, error: set where the object could not be labelled.
        width, height, flags: of the decoded image.
    """

    index: int
    etag: str | None
    error_kind: str | None = None
    error: str | None = None
    width: int | None = None
    height: int | None = None
    flags: tuple[str, ...] | None = None


@dataclass(slots=True)
class Predicted:
    """The model's output for a chunk's images, batch by batch, in the order of their rows.

    Attributes:
        seconds: how long that took.
    """

    predictions: list[Prediction] = field(default_factory=list)
    embeddings: list[npt.NDArray[np.float32]] = field(default_factory=list)
    features: dict[str, list[npt.NDArray[np.float32]]] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, more: "Predicted") -> None:
        """Add what was said of further images."""
        self.predictions += more.predictions
        self.embeddings += more.embeddings
        for layer, maps in more.features.items():
            self.features.setdefault(layer, []).extend(maps)
        self.seconds += more.seconds

    def first(self, count: int) -> "Predicted":
        """Return the output for the first `count` images."""
        return Predicted(
            self.predictions[:count],
            [np.concatenate(self.embeddings)[:count]] if self.embeddings else [],
            {name: [np.concatenate(maps)[:count]] for name, maps in self.features.items()},
        )


def output_schema(outputs: Sequence[str], carried: pa.Schema) -> pa.Schema:
    """Return every column that a row may have, in order.

    `outputs` are `embedding` and layers of `FEATURE_SHAPES`; `carried`, the user's own columns.
    """
    fields = [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("flags", pa.list_(pa.string())),
        pa.field("label", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("labels", pa.list_(LABEL_TYPE)),
    ]
    fields += [pa.field(_column(name), _type(name)) for name in outputs]
    fields += [pa.field(name, pa.string()) for name in (*ERROR_COLUMNS, *Origin.__slots__)]
    return pa.schema([*fields, *carried])


def row_bytes(outputs: Sequence[str]) -> int:
    """Return how many bytes the arrays of one row take."""
    sizes = {"embedding": EMBEDDING_SIZE, **{k: math.prod(v) for k, v in FEATURE_SHAPES.items()}}
    return 4 * sum(sizes[name] for name in outputs)


def build_rows(
    schema: pa.Schema, objects: pa.Table, rows: Sequence[Row], predicted: Predicted, origin: Origin
) -> pa.Table:
    """Make one row per object: the labelled ones first, then the errors, each in listing order.

    Carried columns come from `objects`; `predicted` has an image for each row without an error.
    """
    rows = sorted(rows, key=lambda row: row.error_kind is not None)
    objects = objects.take(pa.array([row.index for row in rows], pa.int64()))
    tops = [prediction.top for prediction in predicted.predictions]
    columns: dict[str, list[Any]] = {
        **{name: [getattr(row, name) for row in rows] for name in _OF_A_ROW},
        "label": [top.label for top in tops],
        "score": [top.score for top in tops],
        "labels": [list(map(_to_struct, x.labels)) for x in predicted.predictions],
        **{name: [value] * len(rows) for name, value in asdict(origin).items()},
    }
    arrays = {name: pa.array(values, schema.field(name).type) for name, values in columns.items()}
    features = {layer: predicted.features.get(layer, ()) for layer in FEATURE_SHAPES}
    outputs = {"embedding": predicted.embeddings, **features}
    arrays |= {
        _column(name): _output_array(name, x)
        for name, x in outputs.items()
        if _column(name) in schema.names
    }
    return pa.table(
        [
            _pad(arrays[name], len(rows)) if name in arrays else objects.column(name)
            for name in schema.names
        ],
        schema=schema,
    )


def encode_rows(
    schema: pa.Schema, objects: pa.Table, rows: Sequence[Row], predicted: Predicted, origin: Origin
) -> bytes:
    """Return the rows of `build_rows` as a Parquet file."""
    return encode_table(build_rows(schema, objects, rows, predicted, origin))


def _column(output: str) -> str:
    return output if output == "embedding" else f"features_{output}"


def _type(output: str) -> pa.DataType:
    if output == "embedding":
        return pa.list_(pa.float32(), EMBEDDING_SIZE)
    return pa.fixed_shape_tensor(pa.float32(), FEATURE_SHAPES[output])


def _output_array(output: str, batches: Sequence[npt.NDArray[np.float32]]) -> pa.Array:
    if not batches:
        return pa.array([], _type(output))
    values = np.concatenate(batches)
    if output == "embedding":
        return pa.FixedSizeListArray.from_arrays(values.ravel(), EMBEDDING_SIZE)
    return pa.FixedShapeTensorArray.from_numpy_ndarray(values)


def _pad(array: pa.Array, length: int) -> pa.ChunkedArray:
    """Fill up with nulls for the errors, which come last."""
    missing = pa.nulls(length - len(array), array.type)
    return pa.chunked_array([array, missing] if len(missing) else [array])
