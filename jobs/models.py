"""Finding a job's model from wherever a worker runs."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from jobs.spec import JobSpec
from jobs.storage import Storage, StoredObject, is_s3
from model_repo.inception_v3 import Classifier, Model, RuntimeOptions, Weights, WeightsError
from model_repo.inception_v3.repository import BUILTIN_REPOSITORY, load_model
from model_repo.inception_v3.weights import CHECKPOINT_NAMES, UNTRAINED, find_weights


def with_absolute_paths(spec: JobSpec) -> JobSpec:
    """Make local paths mean the same in every process, whatever its current folder."""
    names = ["model_repository", "labels"]
    if spec.weights is not None and spec.weights.partition(":")[0] != UNTRAINED:
        names.append("weights")
    values = {name: getattr(spec, name) for name in names}
    return spec.model_copy(
        update={
            name: os.path.abspath(value)
            for name, value in values.items()
            if value is not None and not is_s3(value)
        }
    )


def find_model(spec: JobSpec, storage: Storage) -> tuple[Model, Weights]:
    """Find the model and the weights that `spec` names, bringing them here if they lie on S3.

    Raises:
        RepositoryError: there is no such model, or its files are wrong.
        WeightsError: there are no such weights.
        FetchError, StorageError: they cannot be read.
    """
    repository = BUILTIN_REPOSITORY
    if spec.model_repository is not None:
        name = spec.model.partition(":")[0]
        repository = _bring(spec.model_repository, storage, only=name)
    weights = spec.weights and _bring_weights(spec.weights, storage)
    labels = spec.labels and str(_bring_file(spec.labels, storage))
    if labels is None and weights is not None:
        labels = _labels_beside(Path(weights))
    model = load_model(repository, spec.model, labels_path=Path(labels) if labels else None)
    return model, find_weights(model, weights)


def load_classifier(
    spec: JobSpec, storage: Storage, options: RuntimeOptions, weights_sha256: str
) -> Classifier:
    """Load the model of `spec`, making sure that it is the one the job was started with.

    Raises:
        WeightsError: this machine has other weights under the same name.
        ModelError: as `find_model` and `Classifier.load`.
    """
    model, weights = find_model(spec, storage)
    if weights.sha256 != weights_sha256:
        raise WeightsError(
            f"weights of {spec.model!r} have sha256 {weights.sha256} on this machine, but the job "
            f"was started with {weights_sha256}; give every node the same file"
        )
    return Classifier.load(model, weights, options)


def weights_available() -> bool:
    """Say whether the built-in model's own weights can be had."""
    try:
        find_weights(load_model())
    except WeightsError:
        return False
    return True


def _bring_weights(source: str, storage: Storage) -> str:
    if not is_s3(source):
        return source
    if source.endswith(tuple(Path(name).suffix for name in CHECKPOINT_NAMES)):
        return str(_bring_file(source, storage))
    return str(_bring(source, storage))


def _labels_beside(checkpoint: Path) -> str | None:
    """Return a labels.txt that lies with the checkpoint, or above its version folder."""
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    for candidate in (folder / "labels.txt", folder.parent / "labels.txt"):
        if candidate.is_file() and (folder.name.isdigit() or candidate.parent == folder):
            return str(candidate)
    return None


def _bring_file(uri: str, storage: Storage) -> Path:
    if not is_s3(uri):
        return Path(uri)
    folder, _, name = uri.rpartition("/")
    return _bring(folder, storage, only=name) / name


def _bring(uri: str, storage: Storage, *, only: str = "") -> Path:
    """Copy a folder of S3, or what of it begins with `only`, to the user's cache.

    The copy's name is made of what is there, so another content is another copy. A local folder
    stays where it is.
    """
    if not is_s3(uri):
        return Path(uri)
    root = uri.rstrip("/") + "/"
    objects = list(storage.list(root, starts_with=only))
    target = _cache_folder() / _digest(root, objects)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent))
        for item in objects:
            path = temporary / item.uri.removeprefix(root)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(storage.read(item.uri, expected_size=item.size).data)
        try:
            temporary.rename(target)
        except OSError:  # another process was quicker
            shutil.rmtree(temporary)
    return target


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "labelmill" / "models"


def _digest(root: str, objects: list[StoredObject]) -> str:
    text = repr([root, *((item.uri, item.size, item.etag) for item in objects)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
