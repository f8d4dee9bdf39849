"""A network of few classes that tells images apart, and images for it: for tests of parity."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models import Inception3, inception_v3

from model_repo.inception_v3.repository.config import BUILTIN_REPOSITORY
from model_repo.inception_v3.spec import IMAGENET_MEAN, IMAGENET_STD
from tests.support.images import encode, photo

CLASS_COUNT = 38
IMAGE_COUNT = 64
_SIZES = ((500, 375), (375, 500), (640, 480), (1200, 900), (299, 299), (320, 1000), (90, 120))
_KINDS = ("JPEG", "JPEG", "JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")


def varied_photo(width: int, height: int, seed: int) -> np.ndarray:
    """A `photo` with colours and textures of its own, so that a network can tell it from others."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    angle, frequency = random.uniform(0, np.pi), random.choice([3, 10, 30, 80])
    stripes = np.sin(frequency * 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)))
    tint = random.uniform(-110, 110, 3)
    mixed = photo(width, height, seed)[:, :, random.permutation(3)] * random.uniform(0.4, 1)
    mixed = mixed + tint + random.uniform(0, 70) * stripes[:, :, None]
    return np.clip(mixed, 0, 255).astype(np.uint8)


def build_images() -> list[bytes]:
    """Encoded photo-like images of several sizes and formats, none rotated or with alpha."""
    return [
        encode(
            varied_photo(*_SIZES[seed % len(_SIZES)], seed), _KINDS[seed % len(_KINDS)], quality=90
        )
        for seed in range(IMAGE_COUNT)
    ]


def build_random_network() -> Inception3:
    generator = torch.Generator().manual_seed(0)
    network = build_torchvisions()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average of all batches
            # At 0 a random network, unlike a trained one, magnifies rounding in every layer.
            nn.init.constant_(module.bias, 1)
    return network


def build_torchvisions() -> Inception3:
    """Build torchvision's own network, which renormalises its input itself."""
    return inception_v3(
        weights=None,
        num_classes=CLASS_COUNT,
        aux_logits=False,
        transform_input=True,
        init_weights=False,
    )


def normalise(pixels: np.ndarray) -> torch.Tensor:
    """Do what torchvision's preset does after its crop."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (torch.from_numpy(pixels) / 255 - mean) / std


def write_config(folder: Path, *, transform_input: bool) -> None:
    text = (BUILTIN_REPOSITORY / "inception_v3" / "config.pbtxt").read_text()
    for old, new in (
        ('name: "inception_v3"', 'name: "probe"'),
        ("dims: [ 1000 ]", f"dims: [ {CLASS_COUNT} ]"),
        ('"true"', f'"{str(transform_input).lower()}"'),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "config.pbtxt").write_text(text)
