"""Parquet files whose columns differ are one table; folders `key=value` are columns, too."""

from datetime import datetime

import pyarrow as pa
import pytest

from jobs.errors import SpecError
from jobs.inputs import open_source
from tests.support.inputs import read_all, write_parquet


def folder_of(tmp_path, *files):
    for number, columns in enumerate(files):
        write_parquet(tmp_path / f"{number}.parquet", **columns)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("values", "kind", "out"),
    [
        ([pa.array([1], pa.int32()), pa.array([2**40])], pa.int64(), [1, 2**40]),
        ([pa.array([1]), pa.array([0.5])], pa.float64(), [1.0, 0.5]),
        ([pa.nulls(1), pa.array(["x"])], pa.string(), [None, "x"]),
        ([pa.array(["x"]), pa.array(["y"], pa.large_string())], pa.large_string(), ["x", "y"]),
        ([pa.array(["x"]).dictionary_encode(), pa.array(["y"])], pa.string(), ["x", "y"]),
        ([pa.array(["x"], pa.string_view()), pa.array(["y"])], pa.string(), ["x", "y"]),
        ([None, pa.array([1])], pa.int64(), [None, 1]),
        ([pa.array([1]), None], pa.int64(), [1, None]),
        (
            [pa.array([{"a": 1}]), pa.array([{"b": "x"}])],
            pa.struct([("a", pa.int64()), ("b", pa.string())]),
            [{"a": 1, "b": None}, {"a": None, "b": "x"}],
        ),
        (
            [pa.array([1], pa.timestamp("ms")), pa.array([2], pa.timestamp("us"))],
            pa.timestamp("us"),
            [datetime(1970, 1, 1, microsecond=x) for x in (1000, 2)],
        ),
        ([pa.array([[1]]), pa.array([[0.5]])], pa.list_(pa.float64()), [[1.0], [0.5]]),
    ],
)
@pytest.mark.parametrize("image", [None, b"1"])
def test_columns_that_differ_are_unified(tmp_path, storage, values, kind, out, image):
    files = [
        {**({"uri": [uri]} if image is None else {"image": [image]}), **({"n": x} if x else {})}
        for uri, x in zip("ab", values, strict=True)
    ]
    source = open_source(folder_of(tmp_path, *files), storage)
    assert source.carried.names == ["n"]
    assert str(source.carried.field("n").type).replace("element", "item") == str(kind)
    assert read_all(source, storage)["n"].to_pylist() == out


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [pa.array([1], pa.float32()), pa.array([1], pa.decimal128(20, 4))],
            r"column 'n' of .*1.parquet is decimal128\(20, 4\), but float in the files before",
        ),
        ([[1], ["x"]], r"column 'n' of .*1.parquet is string, but int64 in the files before it"),
        (
            [[-1], pa.array([2**64 - 1], pa.uint64())],
            r"row 1 of .*1.parquet: the value of 'n' cannot",
        ),
        (
            [[0.5], [1, 2**53 + 1]],
            r"row 2 of .*1.parquet: the value of 'n' cannot be read: Integer",
        ),
    ],
)
def test_values_that_fit_no_common_type_are_named(tmp_path, storage, values, message):
    rows = [{"uri": list("ab")[: len(x)], "n": x} for x in values]
    with pytest.raises(SpecError, match=message):
        read_all(open_source(folder_of(tmp_path, *rows), storage), storage)


def test_partition_folders_are_columns(tmp_path, storage):
    for number, folder in enumerate(
        ("kind=cat", "kind=a%20dog/year=2024", "kind=__HIVE_DEFAULT_PARTITION__", "")
    ):
        (tmp_path / "k=v" / folder).mkdir(parents=True, exist_ok=True)
        image = {"bytes": b"1", "path": "1.jpg"}  # as Hugging Face's datasets have them
        write_parquet(tmp_path / "k=v" / folder / "part.parquet", image=[image], n=[number])
    source = open_source(str(tmp_path / "k=v"), storage)
    rows = read_all(source, storage).sort_by("n").select(source.carried.names).to_pylist()
    assert rows == [
        {"kind": "cat", "year": None, "n": 0},
        {"kind": "a dog", "year": "2024", "n": 1},
        {"kind": None, "year": None, "n": 2},
        {"kind": None, "year": None, "n": 3},
    ]


def test_column_of_the_file_wins_over_the_folder_of_its_name(tmp_path, storage):
    (tmp_path / "label=x").mkdir()
    write_parquet(tmp_path / "label=x" / "a.parquet", uri=["a"], label=["y"])
    rows = read_all(open_source(str(tmp_path), storage), storage)
    assert rows["input_label"].to_pylist() == ["y"]
