"""Finding a model, on this machine or on S3; from S3 it is copied to the user's cache.

The service reads S3 with `S3Reader`, a job with its own storage; both are an `ObjectStore`.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from model_repo.inception_v3.cache import cache_folder, whole_folder
from model_repo.inception_v3.errors import RepositoryError
from model_repo.inception_v3.repository.config import (
    BUILTIN_REPOSITORY,
    Model,
    list_models,
    load_model,
)
from model_repo.inception_v3.repository.weights import Weights, find_weights, is_untrained
from model_repo.inception_v3.s3.objects import S3Error, StoredObject
from model_repo.inception_v3.s3.uri import is_s3, to_s3

_FILE = re.compile(r"file:(?://(?:localhost)?)?(?=/)", re.IGNORECASE)


class ObjectStore(Protocol):
    """What this module needs from S3; URIs are always `s3://bucket/key`, never local paths."""

    def list(self, uri: str) -> Iterable[StoredObject]:
        """List the object that `uri` names, or else everything under it as a folder."""

    def head(self, uri: str) -> StoredObject | None:
        """Look up one object; None if it does not exist."""

    def stream(self, uri: str) -> Iterable[bytes]:
        """Read an object piece by piece; raise if it cannot be read to the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Which model, and where its parts are: each a local path or `s3://`.

    In paths, `~` is the home folder, and `file:` is understood.

    Attributes:
        reference: `name` (its newest version) or `name:version`.
        model_repository: a folder of model folders; None for the built-in one.
        weights: a checkpoint, a folder with one, `untrained[:seed]`, or None for the model's own.
        labels: a labels file; None for the one beside the weights, or the model's own.
    """

    reference: str = "inception_v3"
    model_repository: str | None = None
    weights: str | None = None
    labels: str | None = None

    def with_absolute_paths(self) -> "ModelSource":
        """Make local paths absolute, so that they mean the same in every process."""
        return replace(
            self,
            model_repository=_to_absolute(self.model_repository),
            weights=_to_absolute(self.weights),
            labels=_to_absolute(self.labels),
        )


@contextmanager
def _repository_errors() -> Iterator[None]:
    try:
        yield
    except S3Error as exc:
        raise RepositoryError(str(exc)) from exc


@_repository_errors()
def find_model(source: ModelSource, store: ObjectStore | None = None) -> tuple[Model, Weights]:
    """Find the model and the weights that `source` names; copy them here if they are on S3.

    `S3Reader` reads S3 unless another `store` is given.

    Raises:
        RepositoryError: there is no such model, or its files are wrong.
        WeightsError: there are no such weights.
        OSError: this machine's disk cannot be read, or the copy cannot be written.
        Exception: whatever `store` raises if it cannot list or read.
    """
    store = store or _s3_reader()
    repository = BUILTIN_REPOSITORY
    if source.model_repository is not None:
        name = source.reference.partition(":")[0]
        repository = _download(f"{source.model_repository.rstrip('/')}/{name}", store).parent
    weights, labels = source.weights, source.labels
    if weights is not None and not is_untrained(weights):
        labels = labels or _labels_beside(weights.rstrip("/"), store)
        weights = str(_download(weights.rstrip("/"), store))
    labels_path = _download(labels, store) if labels else None
    model = load_model(repository, source.reference, labels_path=labels_path)
    return model, find_weights(model, weights)


@_repository_errors()
def list_repository(repository: str | None, store: ObjectStore | None = None) -> list[str]:
    """Return the names of the models in a repository (None: the built-in one), sorted.

    Raises:
        RepositoryError: S3 cannot be listed.
        Exception: whatever `store` raises if it cannot list.
    """
    if repository is None or not is_s3(repository):
        return list_models(Path(repository) if repository else BUILTIN_REPOSITORY)
    folder = f"{repository.rstrip('/')}/"
    store = store or _s3_reader()
    paths = (item.uri.removeprefix(folder).split("/") for item in store.list(folder))
    return sorted(path[0] for path in paths if path[1:] == ["config.pbtxt"])


def _s3_reader() -> ObjectStore:
    # Here, because it imports boto3.
    from model_repo.inception_v3.s3.reader import S3Reader  # noqa: PLC0415

    return S3Reader()


def _to_absolute(value: str | None) -> str | None:
    if value is None or is_untrained(value):
        return value
    uri = to_s3(value)
    if is_s3(uri):
        return uri
    if file := _FILE.match(value):
        return os.path.abspath(unquote(value[file.end() :]))
    return os.path.abspath(os.path.expanduser(value))


def _is_file(uri: str, store: ObjectStore) -> bool:
    return store.head(uri) is not None if is_s3(uri) else os.path.isfile(uri)


def _labels_beside(weights: str, store: ObjectStore) -> str | None:
    """Return the labels.txt beside the weights, or above their version folder."""
    folder = weights.rpartition("/")[0] if _is_file(weights, store) else weights
    above, _, version = folder.rpartition("/")
    folders = [folder, above] if version.isdecimal() else [folder]
    candidates = (f"{path}/labels.txt" for path in folders)
    return next((uri for uri in candidates if _is_file(uri, store)), None)


def _download(uri: str, store: ObjectStore) -> Path:
    """Return a local path to a file or folder; copy it to the user's cache if it is on S3.

    The copy's folder is a hash of what S3 lists, so changed content gives a new copy.
    """
    if not is_s3(uri):
        return Path(uri)
    objects = list(store.list(uri))
    if not objects:
        raise RepositoryError(f"{uri} does not exist")
    above, _, name = uri.rpartition("/")
    listed = repr([(item.uri, item.size, item.etag) for item in objects])
    target = cache_folder("models") / hashlib.sha256(listed.encode()).hexdigest()[:32]
    if not target.exists():
        with whole_folder(target) as folder:
            for item in objects:
                _copy(item.uri, folder, item.uri.removeprefix(f"{above}/"), store)
    return target / name


def _copy(uri: str, folder: Path, name: str, store: ObjectStore) -> None:
    if ".." in name.split("/"):  # a key is free text, but must not lead out of the folder
        raise RepositoryError(f"{uri} cannot be copied to a folder; rename it without '..'")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as copy:
        copy.writelines(store.stream(uri))
