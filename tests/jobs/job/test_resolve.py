"""What is refused before any work, each with a sentence that names the thing and the remedy."""

import os

import pytest
import torch

from jobs.errors import JobError, SpecError
from jobs.job.checks import check_job
from jobs.job.resolve import resolve_job
from jobs.job.spec import load_job_spec
from jobs.resources import Resources
from jobs.storage import Storage
from model_repo.inception_v3.runtimes.network import build_inception
from tests.support.faulty_proxy import faulty_proxy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "resnet"}, "has no model 'resnet'; it has inception_v3"),
        ({"model": "inception_v3:7"}, "has no version '7'; it has 1"),
        ({"model_repository": "/nowhere"}, "model repository /nowhere does not exist"),
        ({"weights": "/nowhere.pt"}, "weights '/nowhere.pt' do not exist; give a checkpoint file"),
        ({"labels": "/nowhere.txt"}, "cannot read labels file /nowhere.txt"),
        ({"precision": "fp16"}, "precision fp16 needs a CUDA device"),
        ({"num_gpus": 1}, "--num-gpus 1: the cluster has 0 GPUs"),
        ({"num_gpus": 1, "runtime": "openvino"}, "--num-gpus: the openvino runtime runs on CPUs"),
        ({"image_column": "image"}, "--image-column is for Parquet files"),
    ],
)
def test_what_cannot_be_done_is_refused(photos, tmp_path, make_job, options, message):
    with pytest.raises(SpecError) as caught:
        make_job(photos, tmp_path / "out", **options)

    assert message in str(caught.value)


def test_missing_and_empty_inputs_are_refused(tmp_path, make_job):
    (tmp_path / "empty").mkdir()

    for name in ("missing", "empty"):
        with pytest.raises(SpecError, match=f"{name}' does not exist or is empty"):
            make_job(tmp_path / name, tmp_path / "out")


def test_an_output_inside_the_input_is_refused(photos, make_job):
    for output in (photos, photos / "labels"):
        with pytest.raises(SpecError, match="lies inside input"):
            make_job(photos, output)


def test_an_output_that_a_glob_takes_in_is_refused(photos, make_job):
    with pytest.raises(SpecError, match="lies inside input"):
        make_job(f"{photos}/**", photos / "labels")
    assert make_job(f"{photos}/*.jpg", photos / "labels")


def test_an_output_beside_the_input_may_share_its_name(photos, make_job):
    assert make_job(photos, f"{photos}-labels")


def test_an_output_that_cannot_be_written_is_refused(photos, tmp_path, make_job):
    (tmp_path / "file").write_text("")

    with pytest.raises(JobError, match="file/out"):
        make_job(photos, tmp_path / "file" / "out")


def test_a_bucket_that_does_not_exist_is_named(s3_bucket, tmp_path, photos, make_job):
    with pytest.raises(SpecError, match=r"input 's3://no-such-bucket/x' does not exist"):
        make_job("s3://no-such-bucket/x", tmp_path / "out")
    with pytest.raises(SpecError, match=r"output .* written: bucket 'no-such-bucket' does not ex"):
        make_job(photos, "s3://no-such-bucket/out")


def test_no_request_could_create_an_output_bucket(s3_bucket, photos, make_job, monkeypatch):
    asked = []
    with faulty_proxy(os.environ["AWS_ENDPOINT_URL"], lambda *x: asked.append(x)) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(SpecError, match="no-such-bucket"):
            make_job(photos, "s3://no-such-bucket/out")

    assert asked == [("HEAD", "/no-such-bucket")]


def test_keys_that_may_not_write_are_told_so_before_work(
    s3_bucket, seaweedfs, photos, make_job, monkeypatch
):
    for name, value in seaweedfs.as_reader().environment().items():
        monkeypatch.setenv(name, value)

    with pytest.raises(JobError, match="PutObject"):
        make_job(photos, f"s3://{s3_bucket}/out")


def test_labels_that_do_not_fit_the_head_are_refused(photos, tmp_path, make_job):
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    weights = tmp_path / "model.pt"
    torch.save(build_inception(num_classes=3).state_dict(), weights)

    with pytest.raises(SpecError, match="head of 3 classes, but there are 2 labels"):
        make_job(photos, tmp_path / "out", weights=str(weights), labels=str(labels))


@pytest.fixture
def job_on_gpus(photos, tmp_path):
    """Resolve a job as on a cluster with four GPUs."""

    def resolve(**options):
        values = {"input": str(photos), "output": str(tmp_path / "out"), "weights": "untrained"}
        spec = load_job_spec(values | options)
        return resolve_job(check_job(spec, Storage()), Resources(cpus=16, gpus=4))

    return resolve


def test_gpus_are_used_where_there_are_any(job_on_gpus):
    job = job_on_gpus()
    options, placement = job.inference.options, job.placement

    assert (options.runtime, options.precision) == ("torch", "fp16")
    assert (placement.num_gpus, placement.actors) == (1.0, (1, 4))
    assert placement.separate_decode
    assert placement.num_cpus == 0  # all cores are for decoding
    assert options.device == "cuda"
    assert job.inference.batch_size == 128


@pytest.mark.parametrize(("num_gpus", "most"), [(0.5, 8), (0.3, 12), (0.7, 4), (1, 4)])
def test_as_many_actors_as_fit_share_the_gpus(job_on_gpus, num_gpus, most):
    job = job_on_gpus(num_gpus=num_gpus, batch_size=16)

    assert (job.placement.num_gpus, job.placement.actors) == (num_gpus, (1, most))
    assert job.inference.batch_size == 16
