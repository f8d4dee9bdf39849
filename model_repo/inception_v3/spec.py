"""What decides a prediction, as plain data: no torch, no files, no network."""

import hashlib
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Precision = Literal["fp32", "fp16", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

EMBEDDING_SIZE = 2048

# Layer → [channels, height, width] of the last map before each reduction, as in timm's
# `features_only`.
FEATURE_SHAPES: dict[str, tuple[int, int, int]] = {
    "Conv2d_2b_3x3": (64, 147, 147),  # stride 2
    "Conv2d_4a_3x3": (192, 71, 71),  # stride 4
    "Mixed_5d": (288, 35, 35),  # stride 8
    "Mixed_6e": (768, 17, 17),  # stride 16
    "Mixed_7c": (2048, 8, 8),  # stride 32
}

# What the network returns, in this order.
OUTPUT_NAMES = ("logits", "embedding", *FEATURE_SHAPES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Everything besides the weights that decides what a model predicts.

    Attributes:
        resize_size: shorter side before the crop, pixels.
        crop_size: side of the network's square input, pixels.
        mean, std: for each RGB channel, of values scaled to 0..1.
        transform_input: whether the network converts its input from ImageNet's mean and std to
            -1..1, as torchvision's ImageNet checkpoint expects.
        labels: class names, in the order of the scores.
        max_batch_size: images in one forward pass, at most.
    """

    name: str
    version: str
    architecture: str = "inception_v3"
    resize_size: int = 342
    crop_size: int = 299
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    transform_input: bool = True
    labels: tuple[str, ...] = ()
    max_batch_size: int = 32

    def __post_init__(self) -> None:
        if self.crop_size > self.resize_size:
            raise ValueError(f"crop_size {self.crop_size} exceeds resize_size {self.resize_size}")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std} must be above 0")

    @property
    def fingerprint(self) -> str:
        """Return a hash of what decides predictions; what only affects speed is left out."""
        content = repr(replace(self, max_batch_size=1))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def num_classes(self) -> int:
        """Return the number of classes that the head must have."""
        return len(self.labels)


INCEPTION_V3 = ModelSpec(name="inception_v3", version="1")
