"""Chunks through the stages, from every kind of input, without Ray."""

import gzip
import io
import json
import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.errors import JobError, StorageError
from jobs.job.model import load_classifier
from jobs.labelling.attempts import MAX_ATTEMPTS, Attempts
from jobs.labelling.stages import ChunkLabeller, ChunkPredictor, Worker, decode_chunk
from jobs.labelling.summary import Summary
from jobs.labelling.tasks import ChunkTask, pack, unpack
from jobs.listing.stream import list_chunks
from jobs.storage import Storage
from model_repo.inception_v3 import postprocess, preprocess
from tests.support.images import encode, photo
from tests.support.jobs import GOOD, ODD, chunk_tables, only_task, read_rows
from tests.support.killing import sitecustomize as killing
from tests.support.killing.sitecustomize import MAGIC

KILLING = str(Path(killing.__file__).parent)


def by_name(rows):
    return {row["uri"].rpartition("photos/")[2]: row for row in rows}


def test_each_object_gives_one_row_with_the_right_outcome(photos, tmp_path, run_inline):
    rows = by_name(run_inline(photos, tmp_path / "out"))

    assert set(rows) == {*GOOD, *ODD}
    assert {name for name, row in rows.items() if row["outcome"] == "ok"} == set(GOOD)
    for name, (kind, _) in ODD.items():
        assert (rows[name]["outcome"], rows[name]["error_kind"]) == ("error", kind)
        assert rows[name]["error"]


def test_rows_say_what_the_model_says_of_the_image_alone(photos, tmp_path, run_inline, make_job):
    rows = by_name(run_inline(photos, tmp_path / "out", emit="embedding,features:Mixed_7c"))
    job = make_job(photos, tmp_path / "out", emit="embedding,features:Mixed_7c")
    classifier = load_classifier(job.inference, Storage())

    for name in GOOD:
        seen = preprocess((photos / name).read_bytes())
        outputs = classifier.predict(seen.pixels[np.newaxis])
        (prediction,) = postprocess(outputs.logits, job.inference.model.labels)
        row = rows[name]
        assert [x["label"] for x in row["labels"]] == [x.label for x in prediction.labels]
        assert row["score"] == pytest.approx(prediction.top.score, abs=1e-4)
        assert (row["width"], row["height"]) == (seen.width, seen.height)
        assert tuple(row["flags"]) == seen.flags
        np.testing.assert_allclose(row["embedding"], outputs.embedding[0], atol=1e-3)
        assert np.shape(row["features_Mixed_7c"]) == (2048 * 8 * 8,)


def test_the_maker_of_a_row_is_on_it(photos, tmp_path, run_inline):
    rows = run_inline(photos, tmp_path / "out", top_k=2)

    assert {(r["model"], r["model_version"], r["weights_sha256"]) for r in rows} == {
        ("inception_v3", "1", "untrained:0")
    }
    assert {len(row["labels"]) for row in rows if row["outcome"] == "ok"} == {2}


def test_etags_are_those_of_the_labelled_bytes(photos, tmp_path, run_inline):
    rows = by_name(run_inline(photos, tmp_path / "out"))

    stat = (photos / GOOD[0]).stat()
    assert rows[GOOD[0]]["etag"] == f"{stat.st_size}-{stat.st_mtime_ns}"


def test_gzipped_images_are_labelled_as_what_is_in_them(s3_bucket, s3_client, tmp_path, run_inline):
    data = encode(photo(400, 300, seed=1), "PNG")
    put = partial(s3_client.put_object, Bucket=s3_bucket)
    put(Key="photos/plain", Body=data)
    put(Key="photos/gzipped", Body=gzip.compress(data), ContentEncoding="gzip")
    put(Key="photos/text", Body=gzip.compress(b"no image"), ContentEncoding="gzip")

    rows = run_inline(f"s3://{s3_bucket}/photos/", tmp_path / "out")

    gzipped, plain, text = (by_name(rows)[name] for name in ("gzipped", "plain", "text"))
    assert gzipped["score"] == pytest.approx(plain["score"], abs=1e-4)
    assert gzipped["etag"] != plain["etag"]  # of what is stored
    assert text["outcome"] == "error"


def test_limit_takes_the_first_objects(photos, tmp_path, run_inline):
    rows = run_inline(photos, tmp_path / "out", limit=3)

    assert set(by_name(rows)) == {"a good one.jpg", "bomb.png", "empty.jpg"}


def test_a_manifest_carries_its_columns_and_its_uris(photos, tmp_path, run_inline):
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"uri,shop,label\n{photos}/rotated.jpg,007,cat\nphotos/gone.jpg,8,dog\n")

    rows = {row["uri"]: row for row in run_inline(manifest, tmp_path / "out")}

    assert rows[f"{photos}/rotated.jpg"]["shop"] == "007"
    assert rows[f"{photos}/rotated.jpg"]["input_label"] == "cat"
    assert rows["photos/gone.jpg"]["error_kind"] == "not_found"
    assert rows["photos/gone.jpg"]["shop"] == "8"


def test_jsonl_and_parquet_manifests_keep_their_types(photos, tmp_path, run_inline):
    lines = tmp_path / "list.jsonl"
    lines.write_text(json.dumps({"uri": str(photos / GOOD[0]), "weight": 1.5, "n": 3}) + "\n")
    table = tmp_path / "list.parquet"
    pq.write_table(pa.table({"uri": [str(photos / GOOD[0])], "n": pa.array([3], "int16")}), table)

    (from_lines,) = run_inline(lines, tmp_path / "out1")
    (from_table,) = run_inline(table, tmp_path / "out2")

    assert (from_lines["weight"], from_lines["n"], from_table["n"]) == (1.5, 3, 3)
    assert from_lines["score"] == from_table["score"]


def test_tar_shards_and_image_columns_give_the_rows_of_the_files(photos, zoo, tmp_path, run_inline):
    shard, table = tmp_path / "shard.tar", tmp_path / "images.parquet"
    with tarfile.open(shard, "w") as tar:
        for name in GOOD:
            member = tarfile.TarInfo(name)
            member.size = len(zoo[name])
            tar.addfile(member, io.BytesIO(zoo[name]))
    pq.write_table(pa.table({"image": [zoo[name] for name in GOOD], "n": range(4)}), table)

    expected = {
        name: row["score"] for name, row in by_name(run_inline(photos, tmp_path / "a")).items()
    }
    from_tar = run_inline(shard, tmp_path / "b")
    from_table = run_inline(table, tmp_path / "c")

    assert {row["uri"].partition("#")[2]: row["score"] for row in from_tar} == {
        name: pytest.approx(expected[name], abs=1e-5) for name in GOOD
    }
    assert [row["score"] for row in sorted(from_table, key=lambda row: row["n"])] == [
        pytest.approx(expected[name], abs=1e-5) for name in GOOD
    ]


def test_decoding_apart_gives_the_same_chunk(photos, tmp_path, make_job):
    tables = []
    for output in ("one", "two"):
        job = make_job(photos, tmp_path / output)
        task = only_task(job)
        if output == "one":
            summary = unpack(ChunkLabeller(job)(task), Summary)
        else:
            summary = unpack(ChunkPredictor(job)(decode_chunk(task, job)), Summary)
        assert 0 < summary.model_s + summary.write_s < summary.seconds
        assert summary.cpu_s > 0
        assert (summary.ahead_s > 0) == (output == "two")
        counts = (summary.objects, summary.errors, summary.faults, summary.total)
        assert counts == (8, 4, 3, 8)
        assert summary.not_images == 1
        tables.append(chunk_tables(tmp_path / output))

    assert len(tables[0]) == 1
    assert tables[0] == tables[1]


def test_threads_of_one_predictor_write_the_chunks_that_one_alone_writes(
    photos, tmp_path, make_job
):
    for number in range(0, 96, 8):
        (photos / f"{number}.jpg").write_bytes(encode(photo(120, 90, seed=number), "JPEG"))
    manifest = tmp_path / "list.csv"
    manifest.write_text("\n".join(["uri", *[f"{photos}/{number}.jpg" for number in range(96)]]))
    tables = []
    for output, threads in (("one", 1), ("two", 3)):
        job = make_job(manifest, tmp_path / output, batch_size=3)
        predictor = ChunkPredictor(job)
        tasks = [
            pack(ChunkTask(chunk.id, chunk.objects, total))
            for chunk, total in list_chunks(job, frozenset())
        ]
        # Ray copies a chunk's pixels into its object store, before the next are decoded there.
        decoded = [pickle.loads(pickle.dumps(decode_chunk(task, job))) for task in tasks]
        with ThreadPoolExecutor(threads) as pool:
            summaries = [unpack(row, Summary) for row in pool.map(predictor, decoded)]
        assert [summary.errors for summary in summaries] == [28] * 3
        assert not list(Storage().list(job.layout.attempts))
        tables.append(chunk_tables(tmp_path / output))

    assert tables[0] == tables[1]


@pytest.mark.parametrize("apart", [False, True])
def test_a_chunk_that_was_begun_before_is_read_with_care(
    photos, tmp_path, make_job, monkeypatch, apart
):
    (photos / "killer.jpg").write_bytes(encode(photo(200, 150), "JPEG", comment=MAGIC))
    job = make_job(photos, tmp_path / "out")
    task = only_task(job)
    monkeypatch.setenv("PYTHONPATH", KILLING + os.pathsep + os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("KILL_AT", "decode")  # of children: this process has started without
    Attempts(job.layout, job.run_id).begin_chunk(unpack(task, ChunkTask).id)

    if apart:
        summary = unpack(ChunkPredictor(job)(decode_chunk(task, job)), Summary)
    else:
        summary = unpack(ChunkLabeller(job)(task), Summary)

    assert (summary.objects, summary.errors) == (9, 5)
    (table,) = chunk_tables(tmp_path / "out").values()
    kinds = table.column("error_kind").to_pylist()
    assert kinds.count("crashed") == 1
    assert not list(Storage().list(job.layout.attempts))


def test_predicting_alone_has_an_end_too(photos, tmp_path, make_job):
    job = make_job(photos, tmp_path / "out")
    task = only_task(job)
    decoded = decode_chunk(task, job)
    predictor = ChunkPredictor(job, lambda: Worker("actor", restarted=True))
    for _ in range(MAX_ATTEMPTS - 1):  # of predictors that died
        Attempts(job.layout, job.run_id).begin_chunk(unpack(task, ChunkTask).id)

    with pytest.raises(JobError, match="was begun 10 times"):
        unpack(predictor(decoded), Summary)


def test_a_chunk_without_one_good_image_is_written(photos, tmp_path, run_inline):
    for name in GOOD:
        (photos / name).unlink()

    rows = run_inline(photos, tmp_path / "out", emit="embedding")

    assert {row["outcome"] for row in rows} == {"error"}
    assert len(rows) == len(ODD) == len(read_rows(tmp_path / "out"))


def test_a_node_without_the_input_s_file_system_makes_no_error_rows(photos, tmp_path, make_job):
    job = make_job(f"{photos}/*.jpg", tmp_path / "out")
    task = only_task(job)
    photos.rename(tmp_path / "unmounted")

    with pytest.raises(StorageError, match=r"photos does not exist on .*; every node needs it"):
        unpack(ChunkLabeller(job)(task), Summary)
    assert not list(Storage().list(job.layout.chunks))
