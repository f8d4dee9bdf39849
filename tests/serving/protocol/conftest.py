import struct

import numpy as np
import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from model_repo.inception_v3.repository.config import BUILTIN_REPOSITORY, load_model, parse_config
from serving.protocol.metadata import complete_config, image_variant_config


@pytest.fixture(scope="session")
def config() -> ModelConfig:
    """The model that takes pixels."""
    folder = BUILTIN_REPOSITORY / "inception_v3"
    return complete_config(parse_config(folder / "config.pbtxt"), load_model().spec)


@pytest.fixture(scope="session")
def variant(config) -> ModelConfig:
    """Its image variant, which takes encoded images."""
    return image_variant_config(config)


@pytest.fixture
def pixels() -> np.ndarray:
    """Two images' worth, no two values in a row alike."""
    return np.random.default_rng(7).integers(0, 256, (2, 3, 299, 299), np.uint8)


@pytest.fixture
def prefixed():
    """Elements as a BYTES tensor has them: each with its length before it."""
    return lambda *elements: b"".join(struct.pack("<I", len(e)) + e for e in elements)
