"""Finding a job's model from wherever a worker runs."""

from jobs.job.spec import JobSpec
from jobs.storage import Storage, is_s3
from model_repo.inception_v3 import (
    Classifier,
    Model,
    ModelSpec,
    RuntimeOptions,
    Weights,
    WeightsError,
    find_weights,
    load_model,
)
from model_repo.inception_v3.repository import locate
from model_repo.inception_v3.repository.locate import ModelSource
from model_repo.inception_v3.repository.weights import is_untrained


def with_absolute_paths(spec: JobSpec) -> JobSpec:
    """Make local paths mean the same in every process, whatever its current folder."""
    source = _to_source(spec).with_absolute_paths()
    return spec.model_copy(
        update={
            "model_repository": source.model_repository,
            "weights": source.weights,
            "labels": source.labels,
        }
    )


def find_model(spec: JobSpec, storage: Storage) -> tuple[Model, Weights]:
    """Find the model and the weights that `spec` names, bringing them here if they lie on S3.

    Raises:
        RepositoryError: there is no such model, or its files are wrong.
        WeightsError: there are no such weights.
        JobError: they cannot be read.
    """
    if spec.weights and not is_s3(spec.weights) and not is_untrained(spec.weights):
        storage.head(spec.weights)  # a disk that fails is the storage's trouble, and said so
    return locate.find_model(_to_source(spec), storage)


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


def _to_source(spec: JobSpec) -> ModelSource:
    return ModelSource(
        reference=spec.model,
        model_repository=spec.model_repository,
        weights=spec.weights,
        labels=spec.labels,
    )
