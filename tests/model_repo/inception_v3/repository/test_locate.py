"""Models from wherever they lie; weights are small stand-ins, since nothing is loaded here."""

import hashlib
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from model_repo.inception_v3 import RepositoryError, WeightsError
from model_repo.inception_v3.cache import cache_folder
from model_repo.inception_v3.repository.config import BUILTIN_REPOSITORY
from model_repo.inception_v3.repository.locate import ModelSource, find_model, list_repository
from model_repo.inception_v3.s3.objects import StoredObject

CONFIG = (BUILTIN_REPOSITORY / "inception_v3" / "config.pbtxt").read_text()
FLOWERS = CONFIG.replace('"inception_v3"\nbackend', '"flowers"\nbackend').replace(
    "[ 1000 ]", "[ 2 ]"
)
LABELS = "rose\ntulip\n"


class Shelf:
    """An object store in memory; as the real ones, it knows nothing but S3."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.opened: list[str] = []

    def put(self, uri: str, body: str) -> str:
        self.objects[uri] = body.encode()
        return uri

    def list(self, uri):
        if found := self.head(uri):
            return [found]
        folder = uri.rstrip("/") + "/"
        return [self.head(name) for name in sorted(self.objects) if name.startswith(folder)]

    def head(self, uri):
        assert uri.startswith("s3://"), f"{uri} is no business of an object store"
        if uri not in self.objects:
            return None
        body = self.objects[uri]
        return StoredObject(uri, len(body), hashlib.md5(body).hexdigest())

    def stream(self, uri):
        self.opened.append(uri)
        yield self.objects[uri]


def broken(uri):
    yield b"x"
    if "labels" in uri:
        raise ConnectionError("broken off")


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Shelf:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Shelf()


@pytest.fixture
def flowers(shelf) -> str:
    shelf.put("s3://b/models/flowers/config.pbtxt", FLOWERS)
    shelf.put("s3://b/models/flowers/labels.txt", LABELS)
    shelf.put("s3://b/models/flowers/1/model.pt", "old")
    shelf.put("s3://b/models/flowers/2/model.pt", "new")
    shelf.put("s3://b/models/flowers_large/1/model.pt", "not asked for")
    return "s3://b/models"


def find(shelf: Shelf, **parts):
    return find_model(ModelSource(**parts), shelf)


@pytest.mark.parametrize("name", ["net.pth", "1/model.safetensors"])
def test_labels_beside_the_weights_are_found(tmp_path, shelf, name):
    path = tmp_path / "w" / name
    path.parent.mkdir(parents=True)
    path.write_text("x")
    (tmp_path / "w" / "labels.txt").write_text(LABELS)

    model, weights = find(shelf, weights=str(path))

    assert model.spec.labels == ("rose", "tulip")
    assert weights.path == path


@pytest.mark.parametrize("name", ["net.pth", "1/model.safetensors"])
def test_labels_beside_the_weights_are_found_on_s3(shelf, name):
    uri = shelf.put(f"s3://b/w/{name}", "x")
    shelf.put("s3://b/w/labels.txt", LABELS)

    model, weights = find(shelf, weights=uri)

    assert model.spec.labels == ("rose", "tulip")
    assert weights.path.read_text() == "x"


def test_a_folder_of_weights_on_s3_is_downloaded(shelf):
    shelf.put("s3://b/w/2/model.pt", "y")
    labels = shelf.put("s3://b/names.txt", "rose\ntulip\nlily\n")

    model, weights = find(shelf, weights="s3://b/w/2/", labels=labels)

    assert (len(model.spec.labels), weights.path.read_text()) == (3, "y")


def test_a_model_repository_on_s3_gives_its_newest_version(shelf, flowers):
    model, weights = find(shelf, model_repository=f"{flowers}/", reference="flowers")

    assert (model.spec.name, model.spec.version) == ("flowers", "2")
    assert weights.path.read_text() == "new"
    assert not (model.folder.parent.parent / "flowers_large").exists()


def test_a_version_on_s3_can_be_named(shelf, flowers):
    _, weights = find(shelf, model_repository=flowers, reference="flowers:1")

    assert weights.path.read_text() == "old"


def test_what_was_downloaded_is_not_downloaded_again(shelf, flowers):
    for _ in range(2):
        find(shelf, model_repository=flowers, reference="flowers")

    assert len(shelf.opened) == len(set(shelf.opened)) == 4


def test_new_content_on_s3_is_downloaded_again(shelf):
    labels = shelf.put("s3://b/labels.txt", LABELS)
    before = find(shelf, weights=shelf.put("s3://b/net.pt", "old"), labels=labels)[1].sha256

    assert find(shelf, weights=shelf.put("s3://b/net.pt", "new"), labels=labels)[1].sha256 != before


def test_a_copy_that_fails_leaves_nothing_and_can_be_tried_again(shelf, flowers, monkeypatch):
    wanted = {"model_repository": flowers, "reference": "flowers"}
    with monkeypatch.context() as patch:
        patch.setattr(shelf, "stream", broken)
        with pytest.raises(ConnectionError):
            find(shelf, **wanted)

    assert list(cache_folder("models").iterdir()) == []
    assert find(shelf, **wanted)[0].spec.labels == ("rose", "tulip")


def test_processes_that_download_the_same_model_at_once_share_one_copy(shelf, flowers, monkeypatch):
    together = threading.Barrier(3, timeout=20)

    def stream_together(uri):
        together.wait()
        yield shelf.objects[uri]

    monkeypatch.setattr(shelf, "stream", stream_together)
    with ThreadPoolExecutor(3) as pool:
        found = list(
            pool.map(lambda _: find(shelf, model_repository=flowers, reference="flowers"), range(3))
        )

    assert found[0] == found[1] == found[2]
    assert len(list(cache_folder("models").iterdir())) == 1


def test_a_key_cannot_lead_out_of_the_copy(tmp_path, shelf, flowers):
    shelf.put(f"{flowers}/flowers/../../../../escaped", "x")

    with pytest.raises(RepositoryError, match=r"flowers/\.\..*escaped cannot be copied"):
        find(shelf, model_repository=flowers, reference="flowers")

    assert not list(tmp_path.rglob("escaped"))


def test_what_is_not_on_s3_is_named_as_the_user_named_it(shelf):
    for parts in ({"weights": "s3://b/typo.pt"}, {"model_repository": "s3://b/typo"}):
        with pytest.raises(RepositoryError, match=r"s3://b/typo.* does not exist"):
            find(shelf, **parts)


def test_missing_weights_are_named(shelf):
    with pytest.raises(WeightsError, match=r"weights '/nowhere/w\.pt' do not exist"):
        find(shelf, weights="/nowhere/w.pt")


def test_local_paths_become_absolute_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = ModelSource(model_repository="models", weights="untrained:7", labels="s3://b/l.txt")

    assert source.with_absolute_paths() == ModelSource(
        model_repository=str(tmp_path / "models"), weights="untrained:7", labels="s3://b/l.txt"
    )
    assert ModelSource().with_absolute_paths() == ModelSource()


def test_home_folder_and_other_names_of_s3_are_understood(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    source = ModelSource(model_repository="s3a://b/models", weights="~/w.pt", labels="S3N://b/l")

    assert source.with_absolute_paths() == ModelSource(
        model_repository="s3://b/models", weights="/home/me/w.pt", labels="s3://b/l"
    )
    for text in ("file:/a%20b.pt", "file:///a%20b.pt", "FILE://localhost/a%20b.pt"):
        assert ModelSource(weights=text).with_absolute_paths().weights == "/a b.pt"


def test_models_of_a_local_repository_are_listed(shelf, repository):
    (repository / "flowers").mkdir()
    (repository / "flowers" / "config.pbtxt").write_text(FLOWERS)
    (repository / "no_model").mkdir()

    assert list_repository(str(repository), shelf) == ["flowers", "inception_v3"]
    assert list_repository(None, shelf) == ["inception_v3"]


def test_models_of_a_repository_on_s3_are_listed(shelf, flowers):
    shelf.put(f"{flowers}/ants/config.pbtxt", FLOWERS)
    shelf.put(f"{flowers}/ants/old/config.pbtxt", FLOWERS)
    shelf.put(f"{flowers}/config.pbtxt", FLOWERS)
    shelf.put(f"{flowers}_other/bees/config.pbtxt", FLOWERS)

    assert list_repository(flowers, shelf) == list_repository(f"{flowers}/", shelf)
    assert list_repository(flowers, shelf) == ["ants", "flowers"]
    assert list_repository("s3://b/nothing", shelf) == []


def test_a_model_is_downloaded_from_a_real_server(s3_bucket, s3_client, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = random.Random(7).randbytes(5_000_000)
    folder = BUILTIN_REPOSITORY / "inception_v3"
    for key, body in (
        ("config.pbtxt", (folder / "config.pbtxt").read_bytes()),
        ("labels.txt", (folder / "labels.txt").read_bytes()),
        ("3/model.pt", data),
    ):
        s3_client.put_object(Bucket=s3_bucket, Key=f"zoo/inception_v3/{key}", Body=body)
    source = ModelSource(model_repository=f"s3://{s3_bucket}/zoo")

    model, weights = find_model(source)

    assert (model.spec.version, weights.path.read_bytes()) == ("3", data)
    assert list_repository(source.model_repository) == ["inception_v3"]


def test_what_s3_refuses_is_a_repository_error(s3_environment):
    for ask in (
        lambda: find_model(ModelSource(model_repository="s3://typo-7/models")),
        lambda: list_repository("s3://typo-7/models"),
    ):
        with pytest.raises(RepositoryError, match=r"^bucket 'typo-7' does not exist at http://"):
            ask()
