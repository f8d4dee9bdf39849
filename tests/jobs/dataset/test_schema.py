import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.dataset.schema import Origin, Predicted, Row, build_rows, output_schema, row_bytes
from jobs.inputs.rows import objects_table
from model_repo.inception_v3 import Label, Prediction

ORIGIN = Origin("inception_v3", "1", "abc", "fp32")
CARRIED = pa.schema([("shop", pa.string())])


@pytest.fixture
def table() -> pa.Table:
    objects = objects_table(3, uri=["a", "b", "c"], location=["a", "b", "c"])
    objects = objects.append_column("shop", pa.array(["x", "y", "z"]))
    rows = [
        Row(index=0, etag="1", width=3, height=4, flags=("alpha",)),
        Row(index=1, etag="2", error_kind="unreadable", error="no image"),
        Row(index=2, etag="3", width=5, height=6, flags=()),
    ]
    predicted = Predicted(
        predictions=[
            Prediction((Label(i, f"class {i}", 0.5), Label(9, "other", 0.1))) for i in (1, 2)
        ],
        embeddings=[np.full((2, 2048), 7, np.float32)],
        features={"Mixed_7c": [np.ones((1, 2048, 8, 8), np.float32) * n for n in (1, 2)]},
    )
    schema = output_schema(("embedding", "Mixed_7c"), CARRIED)
    return build_rows(schema, objects, rows, predicted, ORIGIN)


def test_columns_are_those_of_the_contract():
    names = ["uri", "etag", "width", "height", "flags", "label", "score", "labels"]
    names += ["error_kind", "error", "model", "model_version", "weights_sha256", "precision"]

    assert output_schema((), pa.schema([])).names == names


def test_types_are_those_of_the_contract():
    schema = output_schema(("embedding", "Mixed_6e"), CARRIED)

    assert not schema.field("uri").nullable
    assert schema.field("width").type == pa.int32()
    assert schema.field("score").type == pa.float32()
    assert schema.field("embedding").type == pa.list_(pa.float32(), 2048)
    assert schema.field("features_Mixed_6e").type.shape == [768, 17, 17]


def test_each_object_keeps_what_belongs_to_it(table):
    rows = {
        row["uri"]: row
        for row in table.drop_columns(["embedding", "features_Mixed_7c"]).to_pylist()
    }

    assert (rows["a"]["label"], rows["a"]["shop"], rows["a"]["flags"]) == (
        "class 1",
        "x",
        ["alpha"],
    )
    assert (rows["c"]["label"], rows["c"]["width"], rows["c"]["etag"]) == ("class 2", 5, "3")
    assert (rows["b"]["error_kind"], rows["b"]["label"], rows["b"]["shop"]) == (
        "unreadable",
        None,
        "y",
    )
    assert rows["a"]["labels"][1] == {"index": 9, "label": "other", "score": pytest.approx(0.1)}
    assert {row["weights_sha256"] for row in rows.values()} == {"abc"}


def test_arrays_survive_parquet_with_nulls_for_errors(table, tmp_path):
    pq.write_table(table, tmp_path / "rows.parquet")
    read = pq.read_table(tmp_path / "rows.parquet")

    assert read.schema.equals(table.schema)
    assert read.column("uri").to_pylist() == ["a", "c", "b"]
    assert [x is None for x in read.column("embedding").to_pylist()] == [False, False, True]
    features = read.column("features_Mixed_7c").combine_chunks()
    assert features.slice(1, 1).to_numpy_ndarray().shape == (1, 2048, 8, 8)
    assert features.slice(1, 1).to_numpy_ndarray()[0, 0, 0, 0] == 2


def test_row_bytes_count_the_arrays():
    assert row_bytes(()) == 0
    assert row_bytes(("embedding", "Mixed_7c")) == 4 * (2048 + 2048 * 64)
