"""Finding and loading a job's model from wherever a worker runs."""

from jobs.job.inference import InferenceSpec
from jobs.job.spec import JobSpec
from jobs.storage import Storage, is_s3
from model_repo.inception_v3 import (
    Classifier,
    Model,
    Weights,
    WeightsError,
    find_weights,
    load_model,
)
from model_repo.inception_v3.repository import locate
from model_repo.inception_v3.repository.locate import ModelSource
from model_repo.inception_v3.repository.weights import is_untrained


def model_source(spec: JobSpec) -> ModelSource:
    """Return which model `spec` names; local paths become absolute, for workers elsewhere."""
    return ModelSource(
        reference=spec.model,
        model_repository=spec.model_repository,
        weights=spec.weights,
        labels=spec.labels,
    ).with_absolute_paths()


def find_model(source: ModelSource, storage: Storage) -> tuple[Model, Weights]:
    """Find the model and the weights that `source` names; download them if they lie on S3.

    Raises:
        RepositoryError: there is no such model, or its files are wrong.
        WeightsError: there are no such weights.
        JobError: they cannot be read.
    """
    weights = source.weights
    if weights and not is_s3(weights) and not is_untrained(weights):
        storage.head(weights)  # a disk that fails is the storage's trouble, and said so
    return locate.find_model(source, storage)


def load_classifier(inference: InferenceSpec, storage: Storage) -> Classifier:
    """Load the model, making sure that it is the one the job was started with.

    Raises:
        WeightsError: this machine has another model or other weights under the same name.
        ModelError: as `find_model` and `Classifier.load`.
    """
    model, weights = find_model(inference.source, storage)
    if (model.spec, weights.sha256) != (inference.model, inference.weights_sha256):
        raise WeightsError(
            f"model {inference.source.reference!r} is not the same on this machine as where the "
            f"job was started (weights {weights.sha256} here, {inference.weights_sha256} there); "
            "give every node the same files"
        )
    return Classifier.load(model, weights, inference.options)


def weights_available() -> bool:
    """Say whether the built-in model's own weights can be found or downloaded."""
    try:
        find_weights(load_model())
    except WeightsError:
        return False
    return True
