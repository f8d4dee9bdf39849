"""A dataset as others read it: all of its rows, some of them, and whatever their outcome."""

import math

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from datasets import Features, List, Value, load_dataset

from tests.support.jobs import GOOD, ODD
from tests.support.pages import blocks

KINDS = {"mixed": (*GOOD, *ODD), "without errors": GOOD, "all failed": tuple(ODD)}
SHAPE = (2048, 8, 8)


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def labels(kind, zoo, tmp_path, make_job, run_job_here, monkeypatch):
    """The folder that the pages name, with a dataset of each kind, and the programs' own."""
    for name in KINDS[kind]:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zoo[name])
    emit = "classification,embedding"
    run_job_here(make_job(tmp_path / "photos", tmp_path / "labels", emit=emit))
    (tmp_path / "embedded").symlink_to("labels")
    if kind == "mixed":
        run_job_here(make_job(tmp_path / "photos", tmp_path / "maps", emit="features:Mixed_7c"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "labels"


def count(kind, *names):
    return len(set(KINDS[kind]) & set(names))


def test_queries_of_the_pages_run(labels, kind):
    queries = [x for block in blocks("sql") for x in block.text.split(";\n") if x.strip()]

    found = [duckdb.sql(query).fetchall() for query in queries]

    assert sum(images for _, images, _ in found[0]) == count(kind, *GOOD)
    assert sum(objects for _, objects, _ in found[1]) == count(kind, *ODD)


@pytest.mark.parametrize("kind", ["mixed", "without errors"], indirect=True)
@pytest.mark.parametrize(
    "block", [x for x in blocks("python") if x.page == "output.md"], ids=lambda x: x.text[:40]
)
def test_programs_of_the_page_run(labels, kind, block, capsys):
    if "maps/" in block.text and kind != "mixed":
        pytest.skip("one dataset with feature maps is enough")
    exec(block.text, {})

    assert capsys.readouterr().out


def test_everything_is_read_at_once(labels, kind):
    together = len(KINDS[kind])
    pattern = f"{labels}/**/*.parquet"

    assert len(pd.read_parquet(labels)) == together
    rows = pl.read_parquet(pattern, hive_partitioning=True, missing_columns="insert")
    assert rows["uri"].n_unique() == len(rows) == together
    query = f"SELECT count(DISTINCT uri) FROM read_parquet('{pattern}', union_by_name = true)"
    assert duckdb.sql(query).fetchall() == [(together,)]
    hugging_face = load_dataset(str(labels), split="train", streaming=True)
    assert len(list(hugging_face.select_columns(["uri"]))) == together


@pytest.mark.parametrize("kind", ["mixed"], indirect=True)
def test_feature_maps_are_the_same_to_all(labels):
    pattern, name = "maps/outcome=ok/*.parquet", "features_Mixed_7c"
    maps = np.stack(pd.read_parquet("maps/outcome=ok")[name]).reshape(-1, *SHAPE)
    types = Features({name: List(Value("float32"), length=math.prod(SHAPE))})
    named = {"columns": [name], "features": types}

    from_polars = pl.read_parquet(pattern)[name].to_numpy()
    from_duckdb = duckdb.sql(f"SELECT {name} FROM read_parquet('{pattern}')").fetchall()
    rows = load_dataset("parquet", data_files=pattern, split="train", **named)

    assert maps.max() > 0
    assert np.array_equal(from_polars.reshape(-1, *SHAPE), maps)
    assert np.array_equal(np.array(from_duckdb, np.float32).reshape(-1, *SHAPE), maps)
    assert np.array_equal(rows.with_format("torch")[:][name].numpy().reshape(-1, *SHAPE), maps)
