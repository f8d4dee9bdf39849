"""One Inception V3: encoded bytes → pixels → outputs → predictions.

    pixels = preprocess(data).pixels                     # uint8 [3, 299, 299]
    outputs = classifier.predict(np.stack([pixels]))     # logits, embedding, features
    predictions = postprocess(outputs.logits, classifier.spec.labels, top_k=5)

Jobs, the service and Triton make these three calls and no others. The import is cheap: only what
needs torch imports it, since much of a job (listing, commit) runs without the network.
"""

from model_repo.inception_v3.classifier import Classifier, prepare
from model_repo.inception_v3.errors import (
    DecodeError,
    InputError,
    ModelError,
    RepositoryError,
    WeightsError,
)
from model_repo.inception_v3.options import RuntimeOptions
from model_repo.inception_v3.postprocess import Label, Prediction, postprocess
from model_repo.inception_v3.preprocess import preprocess
from model_repo.inception_v3.repository.config import Model, load_model
from model_repo.inception_v3.repository.weights import Weights, find_weights
from model_repo.inception_v3.spec import INCEPTION_V3, ModelSpec

__all__ = [
    "INCEPTION_V3",
    "Classifier",
    "DecodeError",
    "InputError",
    "Label",
    "Model",
    "ModelError",
    "ModelSpec",
    "Prediction",
    "RepositoryError",
    "RuntimeOptions",
    "Weights",
    "WeightsError",
    "find_weights",
    "load_model",
    "postprocess",
    "prepare",
    "preprocess",
]
