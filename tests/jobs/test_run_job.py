"""The life of a job without Ray: begun, killed anywhere, continued, brought up to date."""

import json
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from jobs.commit.audit import run_here
from jobs.commit.commit import commit_chunks
from jobs.commit.generation import has_to_start_over, start_over
from jobs.commit.record import read_record, write_record
from jobs.errors import ErrorRateError, JobError, SpecError
from jobs.job.describe import describe_job
from jobs.storage import Storage
from jobs.verify import verify
from tests.support.images import encode, photo
from tests.support.jobs import GOOD, ODD, label_chunks, read_rows

STORAGE = Storage()


class Killed(Exception):
    """What a test kills a job with; nothing catches it for good."""


@pytest.fixture
def write_photo(photos):
    def write(name: str, seed: int) -> str:
        (photos / name).write_bytes(encode(photo(320, 240, seed=seed), "JPEG"))
        return f"file://{photos}/{name}"

    return write


@pytest.fixture
def job(photos, tmp_path, make_job):
    return make_job(photos, tmp_path / "out", batch_size=8)


def by_uri(output):
    rows = read_rows(output)
    assert len({row["uri"] for row in rows}) == len(rows)
    return {row["uri"]: row for row in rows}


def without_scores(rows):
    """What is the same of a row whichever images shared its batch."""
    return {uri: (row["outcome"], row["etag"], row["label"]) for uri, row in rows.items()}


def test_a_job_that_is_done_says_how_fast_it_was(job, run_job_here):
    actual = run_job_here(job)["actual"]

    assert actual["images_per_s"] > 0
    assert sum(actual["shares"].values()) == pytest.approx(1, abs=0.01)


def test_a_job_that_is_done_has_nothing_left_to_do(job, tmp_path, run_job_here, capsys):
    first = run_job_here(job)
    rows = read_rows(tmp_path / "out")

    assert run_job_here(job) == first
    assert "nothing is left to do" in capsys.readouterr().err
    assert read_rows(tmp_path / "out") == rows
    assert not (tmp_path / "out/_labelmill/manifest/generation-00001").exists()


def test_only_what_is_new_or_overwritten_is_labelled(job, tmp_path, run_job_here, write_photo):
    run_job_here(job)
    before = by_uri(tmp_path / "out")
    new, overwritten = write_photo("new.jpg", 12), write_photo(GOOD[0], 12)

    record = run_job_here(job)

    after = by_uri(tmp_path / "out")
    assert set(after) == {*before, new}
    assert after[overwritten]["etag"] != before[overwritten]["etag"]
    assert after[overwritten]["labels"] != before[overwritten]["labels"]
    assert after[overwritten]["label"] == after[new]["label"]
    assert after[overwritten]["width"] == after[new]["width"] == 320
    untouched = before.keys() - {overwritten}
    assert {uri: after[uri] for uri in untouched} == {uri: before[uri] for uri in untouched}
    listed = pq.read_table(
        tmp_path / "out/_labelmill/manifest/generation-00001/part-00000.manifest"
    )
    assert sorted(listed["uri"].to_pylist()) == sorted([new, overwritten])
    assert (record["counts"]["listed"], record["counts"]["ok"]) == (9, 5)


def test_a_removed_object_is_reported_and_keeps_its_row(
    job, photos, tmp_path, run_job_here, capsys
):
    run_job_here(job)
    before = by_uri(tmp_path / "out")
    (photos / GOOD[0]).unlink()

    record = run_job_here(job)

    assert record["counts"]["removed"] == 1
    assert "1 are no longer in the input" in capsys.readouterr().err
    removed = pq.read_table(tmp_path / "out/_labelmill/removed.manifest")
    assert removed.to_pylist() == [{"uri": f"file://{photos}/{GOOD[0]}"}]
    assert by_uri(tmp_path / "out") == before
    assert json.loads((tmp_path / "out/_labelmill/job.json").read_text()) == record


def test_what_is_passed_over_is_counted_by_every_run(
    photos, tmp_path, make_job, run_job_here, write_photo
):
    job = make_job(photos, tmp_path / "out", include="*.jpg,*.png,*.webp")
    (photos / ".DS_Store").touch()
    first = run_job_here(job)
    assert first["counts"]["passed_over"] == {".DS_Store": 1, ".txt": 1}
    assert (first["counts"]["listed"], first["counts"]["not_images"]) == (7, {})

    (photos / "._a.jpg").touch()  # nothing to label, but to be said
    record = run_job_here(job)
    passed_over = {"._*": 1, ".DS_Store": 1, ".txt": 1}
    assert record["counts"] == first["counts"] | {"passed_over": passed_over}
    assert read_record(STORAGE, job.layout) == record

    write_photo("new.jpg", 5)
    (photos / ".DS_Store").unlink()
    updated = run_job_here(job)["counts"]
    assert (updated["listed"], updated["passed_over"]) == (8, {"._*": 1, ".txt": 1})
    assert verify(str(tmp_path / "out"), sample=0).counts.listed == 8


def test_other_names_make_another_job(photos, tmp_path, make_job, run_job_here):
    record = run_job_here(make_job(photos, tmp_path / "out"))
    del record["rows"]["include"], record["rows"]["exclude"]  # as earlier releases wrote it
    write_record(STORAGE, make_job(photos, tmp_path / "out").layout, record)

    assert run_job_here(make_job(photos, tmp_path / "out"))["generation"] == 0
    with pytest.raises(SpecError, match=r"exclude was None and is now \['\*\.txt'\]"):
        run_job_here(make_job(photos, tmp_path / "out", exclude="*.txt"))


def test_an_object_that_comes_back_is_no_longer_removed(job, photos, tmp_path, run_job_here):
    run_job_here(job)
    (photos / GOOD[0]).rename(tmp_path / "aside")
    run_job_here(job)
    (tmp_path / "aside").rename(photos / GOOD[0])

    assert run_job_here(job)["counts"]["removed"] == 0
    assert not (tmp_path / "out/_labelmill/removed.manifest").exists()


def test_errors_are_tried_again_when_asked_for(job, photos, tmp_path, run_job_here):
    secret = photos / GOOD[1]
    secret.rename(tmp_path / "aside")
    secret.symlink_to(tmp_path / "nowhere")
    first = run_job_here(job)
    secret.unlink()
    (tmp_path / "aside").rename(secret)

    assert first["counts"]["errors"]["not_found"] == 1
    record = run_job_here(job, retry_errors=True)

    assert record["counts"]["errors"] == {"unreadable": 2, "too_large": 1, "not_an_image": 1}
    assert by_uri(tmp_path / "out")[f"file://{secret}"]["outcome"] == "ok"
    assert run_job_here(job)["generation"] == record["generation"]


def test_a_manifest_s_objects_are_asked_whether_they_changed(
    photos, tmp_path, make_job, run_job_here, write_photo
):
    manifest = tmp_path / "list.csv"
    manifest.write_text("uri,owner\n" + "".join(f"{photos}/{name},me\n" for name in GOOD))
    job = make_job(manifest, tmp_path / "out")
    run_job_here(job)
    before = by_uri(tmp_path / "out")
    write_photo(GOOD[0], 13)
    manifest.write_text(manifest.read_text().replace(f"{GOOD[3]},me", f"{GOOD[3]},you"))

    record = run_job_here(job)

    after = by_uri(tmp_path / "out")
    changed = {f"{photos}/{GOOD[0]}", f"{photos}/{GOOD[3]}"}
    assert record["counts"]["ok"] == 4
    assert {uri for uri in after if after[uri] != before[uri]} == changed
    assert after[f"{photos}/{GOOD[3]}"]["owner"] == "you"
    assert run_job_here(job)["generation"] == record["generation"]


def test_an_object_that_nobody_can_look_at_stops_no_update(
    photos, tmp_path, make_job, run_job_here, s3_bucket
):
    manifest = tmp_path / "list.csv"
    odd = f"s3://{s3_bucket}/{'x' * 1100}.jpg"
    manifest.write_text(f"uri\n{photos}/{GOOD[0]}\n{photos}/missing.jpg\n{odd}\n")
    job = make_job(manifest, tmp_path / "out")

    assert run_job_here(job)["counts"]["error"] == 2
    assert run_job_here(job)["generation"] == 0


def test_a_dataset_of_an_earlier_release_is_continued(
    job, photos, tmp_path, run_job_here, write_photo
):
    run_job_here(job)
    write_photo("new.jpg", 11)
    (photos / GOOD[0]).unlink()
    expected = run_job_here(job)
    ours = tmp_path / "out/_labelmill"
    for path in [*ours.glob("manifest/*/*.manifest"), ours / "removed.manifest"]:
        path.rename(path.with_suffix(".parquet"))

    assert verify(str(tmp_path / "out"), sample=0).counts.listed == 9
    assert run_job_here(job) == expected
    assert [path.name for path in ours.glob("removed.*")] == ["removed.manifest"]


def test_chunks_of_an_earlier_release_are_not_labelled_again(
    job, tmp_path, run_job_here, monkeypatch
):
    write_record(STORAGE, job.layout, {"rows": _rows(job), "state": "running", "generation": 0})
    list(label_chunks(job))
    for path in tmp_path.glob("out/_labelmill/**/part-*.manifest"):
        path.rename(path.with_suffix(".parquet"))
    for path in tmp_path.glob("out/_labelmill/chunks/*.chunk"):
        path.rename(path.with_suffix(".parquet"))
    monkeypatch.setattr("jobs.run.run_dataset", lambda _: pytest.fail("labels again"))

    assert run_job_here(job)["counts"]["listed"] == 8
    assert not (tmp_path / "out/_labelmill/chunks").exists()


def test_several_updates_keep_one_row_for_each_object(job, tmp_path, run_job_here, write_photo):
    run_job_here(job)
    for seed in range(3):
        overwritten = write_photo("again.jpg", seed)
        record = run_job_here(job)

    rows = by_uri(tmp_path / "out")
    assert record["generation"] == 3
    assert len(rows) == 9
    assert rows[overwritten]["outcome"] == "ok"


@pytest.fixture
def kill_at(monkeypatch):
    """Kill the job at its n-th change of the output: before it is made, or once it is."""
    changes = ("write", "upload", "delete")
    originals = {name: getattr(Storage, name) for name in changes}

    def arm(number: int | None, *, after: bool = False) -> list[str]:
        made: list[str] = []

        def change(name, self, *args):
            if name == "delete":
                args = (list(args[0]),)
            if len(made) == number and not after:
                raise Killed
            originals[name](self, *args)
            made.append(name)
            if number is not None and len(made) == number + 1:
                raise Killed

        for name in changes:
            monkeypatch.setattr(
                Storage, name, lambda self, *args, name=name: change(name, self, *args)
            )
        return made

    return arm


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("generation", [0, 1])
def test_killed_at_any_change_of_the_output_a_job_comes_to_the_same_end(
    generation, after, job, tmp_path, run_job_here, write_photo, kill_at
):
    out, aside = tmp_path / "out", tmp_path / "aside"
    if generation:
        run_job_here(job)
        write_photo("new.jpg", 11)
        write_photo(GOOD[0], 12)
        shutil.copytree(out, aside)
    made = kill_at(None)
    counts = run_job_here(job)["counts"]
    expected = without_scores(by_uri(out))
    assert len(made) > 5

    for number in range(len(made)):
        shutil.rmtree(out)
        if generation:
            shutil.copytree(aside, out)
        kill_at(number, after=after)
        with pytest.raises(Killed):
            run_job_here(job)
        if (out / "_SUCCESS").exists():
            assert len(by_uri(out)) in {len(expected), 8}
        kill_at(None)
        again = run_job_here(job)
        assert without_scores(by_uri(out)) == expected, f"killed at change {number}"
        assert again["counts"] == counts
        assert (out / "_SUCCESS").exists()
        assert not (out / "_labelmill/chunks").exists()


def test_a_job_killed_before_its_commit_only_commits(job, tmp_path, run_job_here, monkeypatch):
    record = {"rows": _rows(job), "state": "running", "generation": 0}
    write_record(STORAGE, job.layout, record)
    list(label_chunks(job))
    monkeypatch.setattr("jobs.run.run_dataset", lambda _: pytest.fail("labels again"))

    counts = run_job_here(job)["counts"]

    assert (counts["listed"], counts["ok"], counts["error"]) == (8, len(GOOD), len(ODD))
    assert not (tmp_path / "out" / "_labelmill" / "chunks").exists()


def test_only_rows_are_called_parquet_even_before_the_commit(job, tmp_path, run_job_here):
    run_job_here(job)
    list(label_chunks(job.of_generation(1)))

    names = [path.relative_to(tmp_path / "out") for path in tmp_path.rglob("*.parquet")]
    assert {name.parts[0] for name in names} == {"outcome=ok", "outcome=error"}
    assert list(tmp_path.glob("out/_labelmill/chunks/*.chunk"))


def test_what_came_while_a_job_was_down_is_labelled_too(job, tmp_path, run_job_here, write_photo):
    write_record(STORAGE, job.layout, {"rows": _rows(job), "state": "running", "generation": 0})
    list(label_chunks(job))
    new = write_photo("new.jpg", 11)

    run_job_here(job)

    assert new in by_uri(tmp_path / "out")


def test_other_labels_are_another_job(job, photos, tmp_path, make_job, run_job_here):
    run_job_here(job)
    (tmp_path / "labels.txt").write_text("\n".join(list(job.inference.model.labels)[::-1]))

    other = make_job(photos, tmp_path / "out", labels=str(tmp_path / "labels.txt"))
    with pytest.raises(SpecError, match="labels-and-config was"):
        run_job_here(other)


def test_speed_may_change_in_between(job, photos, tmp_path, make_job, run_job_here):
    write_record(STORAGE, job.layout, {"rows": _rows(job), "state": "running", "generation": 0})

    assert run_job_here(make_job(photos, tmp_path / "out", batch_size=3, actors="2"))["counts"]


def test_starting_over_deletes_what_is_ours(job, photos, tmp_path, run_job_here):
    run_job_here(job)
    (photos / "new.jpg").write_bytes((photos / GOOD[0]).read_bytes())
    (photos / GOOD[0]).unlink()
    run_job_here(job)
    (tmp_path / "out" / "mine.txt").write_text("mine")

    start_over(job, STORAGE)

    left = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert left == ["job.json", "mine.txt"]
    assert run_job_here(job)["counts"]["listed"] == 8


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_while_it_starts_over_a_job_still_comes_to_its_end(
    after, job, photos, tmp_path, run_job_here, write_photo, kill_at, make_job
):
    run_job_here(job)
    write_photo("new.jpg", 11)
    run_job_here(job)
    shutil.copytree(tmp_path / "out", tmp_path / "aside")
    other = make_job(photos, tmp_path / "out", top_k=2)
    made = kill_at(None)
    start_over(other, STORAGE)
    assert len(made) > 5

    for number in range(len(made)):
        shutil.rmtree(tmp_path / "out")
        shutil.copytree(tmp_path / "aside", tmp_path / "out")
        kill_at(number, after=after)
        with pytest.raises(Killed):
            start_over(other, STORAGE)
        kill_at(None)
        if has_to_start_over(other, read_record(STORAGE, other.layout), overwrite=number % 2 == 0):
            start_over(other, STORAGE)
        run_job_here(other)
        rows = by_uri(tmp_path / "out")
        assert len(rows) == 9
        assert {len(row["labels"]) for row in rows.values() if row["outcome"] == "ok"} == {2}


def test_what_began_by_overwriting_is_continued_by_the_same_command(job, tmp_path, run_job_here):
    run_job_here(job)
    start_over(job, STORAGE)

    assert not has_to_start_over(job, read_record(STORAGE, job.layout), overwrite=True)
    run_job_here(job)
    assert has_to_start_over(job, read_record(STORAGE, job.layout), overwrite=True)
    assert not has_to_start_over(job, read_record(STORAGE, job.layout), overwrite=False)


def test_a_manifest_that_is_not_complete_is_never_taken_for_an_empty_one(job, run_job_here):
    run_job_here(job)
    STORAGE.delete([f"{job.layout.manifest}/complete.json"])

    with pytest.raises(JobError, match=r"complete\.json is missing; run the same command again"):
        commit_chunks(job.layout, STORAGE, run_here)


def test_a_damaged_chunk_is_labelled_anew(job, tmp_path, run_job_here):
    record = {"rows": _rows(job), "state": "running", "generation": 0}
    write_record(STORAGE, job.layout, record)
    list(label_chunks(job))
    (chunk,) = (tmp_path / "out/_labelmill/chunks").iterdir()
    chunk.write_bytes(chunk.read_bytes()[:-20])

    with pytest.raises(JobError, match="was damaged; run the same command again"):
        run_job_here(job)
    assert run_job_here(job)["counts"]["listed"] == 8


def test_a_dataset_with_a_row_too_many_is_no_success(job, tmp_path, run_job_here, write_photo):
    run_job_here(job)
    parts = tmp_path / "out" / "outcome=ok"
    shutil.copy(parts / "part-00000-00000.parquet", parts / "part-00000-00009.parquet")
    write_photo("new.jpg", 11)

    with pytest.raises(JobError, match=f"{len(GOOD)} uris have more than one row, among them"):
        run_job_here(job)
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_too_many_broken_images_stop_a_job_that_a_higher_rate_continues(
    tmp_path, make_job, run_job_here
):
    (tmp_path / "broken").mkdir()
    for number in range(1100):
        (tmp_path / "broken" / f"{number}.jpg").write_bytes(b"\xff\xd8\xff broken")
    job = make_job(tmp_path / "broken", tmp_path / "out")

    with pytest.raises(ErrorRateError, match="1,024 of 1,024 images so far are broken"):
        run_job_here(job)
    assert not (tmp_path / "out" / "_SUCCESS").exists()

    spec = job.spec.model_copy(update={"max_error_rate": 1.0})
    assert run_job_here(replace(job, spec=spec))["counts"]["error"] == 1100


def _rows(job):
    return describe_job(job)["rows"]
