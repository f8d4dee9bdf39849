import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import torch

from model_repo.inception_v3.classifier import Classifier
from model_repo.inception_v3.options import RuntimeOptions
from model_repo.inception_v3.repository.config import BUILTIN_REPOSITORY, Model, load_model
from model_repo.inception_v3.repository.weights import Weights
from model_repo.inception_v3.runtimes.checkpoint import load_state_dict
from model_repo.inception_v3.runtimes.network import build_inception
from model_repo.inception_v3.spec import FEATURE_SHAPES, ModelSpec
from tests.support.images import photo

pillow_heif.register_heif_opener()  # which writes HEIC, too


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def builtin() -> Model:
    return load_model()


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    """uint8 [17, 3, 299, 299]: more than two tiles of OpenVINO's."""
    return np.stack([photo(299, 299, seed).transpose(2, 0, 1) for seed in range(17)])


@pytest.fixture(scope="session")
def untrained() -> Weights:
    return Weights(None, "untrained:0")


@pytest.fixture(scope="session")
def state_dict(builtin: Model, untrained: Weights) -> dict[str, torch.Tensor]:
    """Tensors that fit the 1,000 classes; not to be changed."""
    return load_state_dict(untrained, builtin.spec)


@pytest.fixture(scope="session")
def openvino_classifier(builtin: Model, untrained: Weights) -> Classifier:
    options = RuntimeOptions(runtime="openvino", outputs=("embedding", *FEATURE_SHAPES), threads=2)
    return Classifier.load(builtin, untrained, options)


@pytest.fixture(scope="session")
def torch_classifier(builtin: Model, untrained: Weights) -> Classifier:
    options = RuntimeOptions(
        runtime="torch", precision="fp32", outputs=("embedding", *FEATURE_SHAPES), threads=2
    )
    return Classifier.load(builtin, untrained, options)


@pytest.fixture(params=["openvino", "torch"])
def classifier(request: pytest.FixtureRequest) -> Classifier:
    return request.getfixturevalue(f"{request.param}_classifier")


@pytest.fixture
def small_spec() -> ModelSpec:
    """Three classes of small pictures, for what costs time with every pixel."""
    return ModelSpec(
        name="small", version="1", resize_size=128, crop_size=107, labels=("cat", "dog", "owl")
    )


@pytest.fixture(scope="session")
def small_state_dict() -> dict[str, torch.Tensor]:
    """Tensors that fit three classes; not to be changed."""
    torch.manual_seed(0)
    return dict(build_inception(3).state_dict())


@pytest.fixture
def small_model(small_spec: ModelSpec, tmp_path: Path) -> Model:
    """A model without weights in its version folder."""
    folder = tmp_path / "small" / "1"
    folder.mkdir(parents=True)
    return Model(small_spec, folder)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the built-in repository, to be changed."""
    folder = tmp_path / "repository"
    shutil.copytree(BUILTIN_REPOSITORY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def with_labels(builtin: Model):
    """Return a model like the built-in one, with other labels."""
    return lambda *labels: Model(replace(builtin.spec, labels=labels), builtin.folder)
