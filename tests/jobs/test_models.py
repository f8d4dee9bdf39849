"""Models from wherever they lie; weights are small stand-ins, since nothing is loaded here."""

import pytest

from jobs.models import find_model, with_absolute_paths
from jobs.spec import load_job_spec
from jobs.storage import Storage
from model_repo.inception_v3 import RepositoryError, WeightsError
from model_repo.inception_v3.repository import BUILTIN_REPOSITORY

CONFIG = (BUILTIN_REPOSITORY / "inception_v3" / "config.pbtxt").read_text()
FLOWERS = CONFIG.replace('"inception_v3"\nbackend', '"flowers"\nbackend').replace(
    "[ 1000 ]", "[ 2 ]"
)


def find(**options):
    return find_model(load_job_spec({"input": "a", "output": "b", **options}), Storage())


@pytest.fixture
def put(s3_bucket, s3_client):
    def put(key: str, body: str) -> str:
        s3_client.put_object(Bucket=s3_bucket, Key=key, Body=body.encode())
        return f"s3://{s3_bucket}/{key}"

    return put


@pytest.mark.parametrize("name", ["net.pth", "1/model.safetensors"])
def test_labels_beside_the_weights_are_found(tmp_path, name):
    path = tmp_path / "w" / name
    path.parent.mkdir(parents=True)
    path.write_text("x")
    (tmp_path / "w" / "labels.txt").write_text("rose\ntulip\n")

    model, weights = find(weights=str(path))

    assert model.spec.labels == ("rose", "tulip")
    assert weights.path == path


@pytest.mark.parametrize("name", ["net.pth", "1/model.safetensors"])
def test_labels_beside_the_weights_are_found_on_s3(put, name):
    uri = put(f"w/{name}", "x")
    put("w/labels.txt", "rose\ntulip\n")

    model, weights = find(weights=uri)

    assert model.spec.labels == ("rose", "tulip")
    assert weights.path.read_text() == "x"


def test_a_folder_of_weights_on_s3_is_brought(put):
    folder = put("w/2/model.pt", "y").rpartition("/")[0]
    labels = put("names.txt", "rose\ntulip\nlily\n")

    model, weights = find(weights=f"{folder}/", labels=labels)

    assert (len(model.spec.labels), weights.path.read_text()) == (3, "y")


def test_a_model_repository_on_s3_gives_its_newest_version(put):
    put("models/flowers/config.pbtxt", FLOWERS)
    put("models/flowers/labels.txt", "rose\ntulip\n")
    put("models/flowers/1/model.pt", "old")
    repository = put("models/flowers/2/model.pt", "new").partition("/flowers")[0]
    put("models/flowers_large/1/model.pt", "not asked for")

    model, weights = find(model_repository=repository, model="flowers")

    assert (model.spec.name, model.spec.version) == ("flowers", "2")
    assert weights.path.read_text() == "new"
    assert not (model.folder.parent.parent / "flowers_large").exists()


def test_new_content_on_s3_is_brought_anew(put):
    labels = put("labels.txt", "rose\ntulip\n")
    before = find(weights=put("net.pt", "old"), labels=labels)[1].sha256

    assert find(weights=put("net.pt", "new"), labels=labels)[1].sha256 != before


def test_what_is_not_on_s3_is_named_as_the_user_named_it(put):
    bucket = put("x", "x").removesuffix("/x")

    for options in ({"weights": f"{bucket}/typo.pt"}, {"model_repository": f"{bucket}/typo"}):
        with pytest.raises(RepositoryError, match=f"{bucket}/typo.* does not exist"):
            find(**options)


def test_local_paths_become_absolute_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = load_job_spec({"input": "a", "output": "b", "weights": "w.pt", "labels": "s3://b/l.txt"})

    assert with_absolute_paths(spec).weights == str(tmp_path / "w.pt")
    assert with_absolute_paths(spec).labels == "s3://b/l.txt"
    untrained = load_job_spec({"input": "a", "output": "b", "weights": "untrained:7"})
    assert with_absolute_paths(untrained).weights == "untrained:7"


def test_missing_weights_are_named():
    with pytest.raises(WeightsError, match=r"weights '/nowhere/w\.pt' do not exist"):
        find(weights="/nowhere/w.pt")
