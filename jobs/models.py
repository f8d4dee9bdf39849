"""Finding a job's model from wherever a worker runs."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from jobs.spec import JobSpec
from jobs.storage import Storage, StoredObject, is_s3
from model_repo.inception_v3 import (
    Classifier,
    Model,
    ModelSpec,
    RepositoryError,
    RuntimeOptions,
    Weights,
    WeightsError,
    find_weights,
    load_model,
)
from model_repo.inception_v3.cache import cache_folder
from model_repo.inception_v3.repository import BUILTIN_REPOSITORY
from model_repo.inception_v3.weights import is_untrained

_COPY_BYTES = 8 * 1024 * 1024


def with_absolute_paths(spec: JobSpec) -> JobSpec:
    """Make local paths mean the same in every process, whatever its current folder."""
    values = {name: getattr(spec, name) for name in ("model_repository", "labels", "weights")}
    return spec.model_copy(
        update={
            name: os.path.abspath(value)
            for name, value in values.items()
            if value is not None and not is_s3(value) and not is_untrained(value)
        }
    )


def find_model(spec: JobSpec, storage: Storage) -> tuple[Model, Weights]:
    """Find the model and the weights that `spec` names, bringing them here if they lie on S3.

    Raises:
        RepositoryError: there is no such model, or its files are wrong.
        WeightsError: there are no such weights.
        JobError: they cannot be read.
    """
    repository = BUILTIN_REPOSITORY
    if spec.model_repository is not None:
        name = spec.model.partition(":")[0]
        repository = _bring(f"{spec.model_repository.rstrip('/')}/{name}", storage).parent
    weights, labels = spec.weights, spec.labels
    if weights is not None and not is_untrained(weights):
        labels = labels or _labels_beside(weights.rstrip("/"), storage)
        weights = str(_bring(weights.rstrip("/"), storage))
    labels_path = _bring(labels, storage) if labels else None
    model = load_model(repository, spec.model, labels_path=labels_path)
    return model, find_weights(model, weights)


def load_classifier(
    spec: JobSpec, storage: Storage, options: RuntimeOptions, origin: tuple[ModelSpec, str]
) -> Classifier:
    """Load the model of `spec`, making sure that it is the one the job was started with.

    Args:
        spec: the job's.
        storage: where the model may lie.
        options: how to run it.
        origin: the model and the hash of the weights that the job was started with.

    Raises:
        WeightsError: this machine has another model or other weights under the same name.
        ModelError: as `find_model` and `Classifier.load`.
    """
    model, weights = find_model(spec, storage)
    if (model.spec, weights.sha256) != origin:
        raise WeightsError(
            f"model {spec.model!r} is not the same on this machine as where the job was started "
            f"(weights {weights.sha256} here, {origin[1]} there); give every node the same files"
        )
    return Classifier.load(model, weights, options)


def weights_available() -> bool:
    """Say whether the built-in model's own weights can be had."""
    try:
        find_weights(load_model())
    except WeightsError:
        return False
    return True


def _labels_beside(weights: str, storage: Storage) -> str | None:
    """Return a labels.txt that lies with the weights, or above their version folder."""
    folder = weights if storage.head(weights) is None else weights.rpartition("/")[0]
    candidates = [f"{folder}/labels.txt"]
    above, _, version = folder.rpartition("/")
    if version.isdecimal():
        candidates.append(f"{above}/labels.txt")
    return next((uri for uri in candidates if storage.head(uri) is not None), None)


def _bring(uri: str, storage: Storage) -> Path:
    """Return a local path to a file or folder, copying it from S3 to the user's cache.

    A copy's place is made of what is there, so another content is another copy.

    Raises:
        RepositoryError: there is nothing.
    """
    if not is_s3(uri):
        return Path(uri)
    objects = list(storage.list(uri))
    if not objects:
        raise RepositoryError(f"{uri} does not exist")
    above, _, name = uri.rpartition("/")
    target = cache_folder("models") / _digest(objects)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent))
        for item in objects:
            path = temporary / item.uri.removeprefix(f"{above}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            with storage.open(item.uri) as source, path.open("wb") as copy:
                shutil.copyfileobj(source, copy, _COPY_BYTES)
        try:
            temporary.rename(target)
        except OSError:  # another process was quicker
            shutil.rmtree(temporary)
    return target / name


def _digest(objects: list[StoredObject]) -> str:
    text = repr([(item.uri, item.size, item.etag) for item in objects])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
