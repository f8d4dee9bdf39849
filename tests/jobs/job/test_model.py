"""A job's model, by its own storage; weights are small stand-ins, since nothing is loaded."""

import errno
import os

import pytest

from jobs.errors import StorageError
from jobs.job.model import find_model, load_classifier, model_source
from jobs.job.resolve import resolve_inference
from jobs.job.spec import load_job_spec
from jobs.storage import Storage
from model_repo.inception_v3 import RepositoryError, WeightsError
from model_repo.inception_v3.repository.config import BUILTIN_REPOSITORY

CONFIG = (BUILTIN_REPOSITORY / "inception_v3" / "config.pbtxt").read_text()
FLOWERS = CONFIG.replace('"inception_v3"\nbackend', '"flowers"\nbackend').replace(
    "[ 1000 ]", "[ 2 ]"
)


def spec_of(**options):
    return load_job_spec({"input": "a", "output": "b", **options})


def find(**options):
    return find_model(model_source(spec_of(**options)), Storage())


@pytest.fixture
def put(s3_bucket, s3_client):
    def put(key: str, body: str) -> str:
        s3_client.put_object(Bucket=s3_bucket, Key=key, Body=body.encode())
        return f"s3://{s3_bucket}/{key}"

    return put


@pytest.mark.parametrize("name", ["net.pth", "1/model.safetensors"])
def test_weights_and_the_labels_beside_them_are_brought_from_s3(put, name):
    uri = put(f"w/{name}", "x")
    put("w/labels.txt", "rose\ntulip\n")

    model, weights = find(weights=uri)

    assert model.spec.labels == ("rose", "tulip")
    assert weights.path.read_text() == "x"


def test_a_model_is_brought_from_a_repository_on_s3(put):
    put("models/flowers/config.pbtxt", FLOWERS)
    put("models/flowers/labels.txt", "rose\ntulip\n")
    put("models/flowers/1/model.pt", "old")
    repository = put("models/flowers/2/model.pt", "new").partition("/flowers")[0]
    put("models/flowers_large/1/model.pt", "not asked for")

    model, weights = find(model_repository=repository, model="flowers")

    assert (model.spec.name, model.spec.version) == ("flowers", "2")
    assert weights.path.read_text() == "new"
    assert not (model.folder.parent.parent / "flowers_large").exists()


def test_what_is_not_on_s3_is_named_as_the_user_named_it(put):
    bucket = put("x", "x").removesuffix("/x")

    for options in ({"weights": f"{bucket}/typo.pt"}, {"model_repository": f"{bucket}/typo"}):
        with pytest.raises(RepositoryError, match=f"{bucket}/typo.* does not exist"):
            find(**options)


def test_missing_weights_are_named():
    with pytest.raises(WeightsError, match=r"weights '/nowhere/w\.pt' do not exist"):
        find(weights="/nowhere/w.pt")


def test_a_disk_that_fails_is_the_storages_trouble(monkeypatch):
    def fail(path, **_):
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected", path)

    monkeypatch.setattr(os, "stat", fail)
    with pytest.raises(StorageError, match=r"cannot look at '/mnt/w\.pt': transport endpoint"):
        find(weights="/mnt/w.pt")


def test_a_node_with_other_weights_is_refused():
    spec = spec_of(weights="untrained:1")
    inference = resolve_inference(spec, *find(weights="untrained:0"), on_gpu=False)

    with pytest.raises(WeightsError, match="weights untrained:1 here, untrained:0 there"):
        load_classifier(inference, Storage())
