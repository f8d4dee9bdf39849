"""A real measurement, in processes of its own."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import JobError
from jobs.inputs.sample import draw_sample
from jobs.planning.measure import measure
from jobs.storage import Storage
from tests.support.images import encode, photo
from tests.support.jobs import placed
from tests.support.killing import sitecustomize as killing
from tests.support.killing.sitecustomize import MAGIC

KILLING = str(Path(killing.__file__).parent)


def sample(job):
    *_, drawn = draw_sample(job.source.tables(Storage()), 64)
    return drawn.rows


def test_every_stage_is_measured_and_nothing_is_left_behind(photos, tmp_path, make_job):
    job = make_job(photos, tmp_path / "out", batch_size=2, emit="embedding")

    measured = measure(job, sample(job))

    assert measured.sampled == 8
    assert measured.errors == {"unreadable": 2, "too_large": 1, "not_an_image": 1}
    assert any(name in measured.example for name in ("empty.jpg", "notes.txt", "truncated.jpg"))
    assert measured.error_share == 0.5
    sizes = [path.stat().st_size for path in photos.rglob("*") if path.is_file()]
    assert measured.image_bytes == sum(sizes) / 8
    assert list(measured.forward_cpu_s) == list(measured.forward_s) == [2]
    assert measured.forward_cpu_s[2] > measured.decode_cpu_s > 0
    assert measured.fetch_cpu_s > 0
    assert measured.row_bytes > 6000  # an embedding has 8192
    assert 0 < measured.had_cores <= measured.cores + 0.1
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_an_actor_with_decoded_chunks_in_hand_is_measured_with_them(photos, tmp_path, make_job):
    job = placed(make_job(photos, tmp_path / "out", batch_size=16), separate_decode=True)

    measured = measure(job, sample(job))

    assert list(measured.forward_s) == [16]  # more than the sample has
    assert measured.forward_s[16] > 0
    assert measured.row_bytes > 0


def test_an_image_that_kills_its_process_is_an_error_of_measuring(tmp_path, make_job, monkeypatch):
    (tmp_path / "photos").mkdir()
    killer = encode(photo(200, 150), "JPEG", comment=MAGIC)
    (tmp_path / "photos" / "killer.jpg").write_bytes(killer)
    job = make_job(tmp_path / "photos", tmp_path / "out", batch_size=1)
    monkeypatch.setenv("PYTHONPATH", KILLING + os.pathsep + os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("KILL_AT", "decode")  # of children: this process has started without

    with pytest.raises(JobError, match="a process that measured died"):
        measure(job, sample(job))


def test_a_model_that_cannot_be_loaded_is_an_error_of_measuring(photos, tmp_path, make_job):
    job = make_job(photos, tmp_path / "out")
    job = replace(job, inference=replace(job.inference, weights_sha256="another"))

    with pytest.raises(JobError, match="is not the same on this machine"):
        measure(job, sample(job))
