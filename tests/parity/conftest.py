import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from model_repo.inception_v3.preprocess import preprocess
from model_repo.inception_v3.repository.config import BUILTIN_REPOSITORY, Model, load_model
from tests.support.probe import (
    CLASS_COUNT,
    build_images,
    build_random_network,
    normalise,
    write_config,
)


@pytest.fixture(scope="session")
def images() -> list[bytes]:
    """Encoded photo-like images of several sizes and formats, none rotated or with alpha."""
    return build_images()


@pytest.fixture(scope="session")
def calibrated_state_dict(images: list[bytes]) -> dict[str, torch.Tensor]:
    """Random weights that tell images apart: torchvision's network of 38 classes, calibrated.

    Batch norm's statistics come from images, and the head looks only at what differs between them;
    otherwise every image would get the same label, and anything would agree with anything.
    """
    network = build_random_network()
    head, network.fc = network.fc, nn.Identity()
    batch = normalise(np.stack([preprocess(image).pixels for image in images[::4]]))
    with torch.no_grad():
        network.train()(batch)
        embedding = network.eval()(batch)
        # Logits of mean 0 and deviation 4 for each class.
        center = embedding.mean(dim=0)
        head.weight.div_(((embedding - center) @ head.weight.T).std(dim=0)[:, None] / 4)
        head.bias.copy_(-(head.weight @ center))
    network.fc = head
    return {name: value.contiguous() for name, value in network.state_dict().items()}


@pytest.fixture(scope="session")
def calibrated_model(
    calibrated_state_dict: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Model:
    """A user's model of 38 classes in a repository of its own, with Triton's adapter."""
    folder = tmp_path_factory.mktemp("models") / "probe"
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.pt")
    shutil.copytree(BUILTIN_REPOSITORY / "inception_v3" / "1", folder / "1", ignore=ignored)
    write_config(folder, transform_input=True)
    (folder / "labels.txt").write_text("".join(f"class {i}\n" for i in range(CLASS_COUNT)))
    save_file(calibrated_state_dict, folder / "1" / "model.safetensors")
    return load_model(folder.parent, "probe")
