"""What `gpu.py` measures, and on what."""

import argparse
import functools
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from model_repo.inception_v3 import (
    INCEPTION_V3,
    Classifier,
    Model,
    RuntimeOptions,
    Weights,
    find_weights,
    preprocess,
)
from model_repo.inception_v3.postprocess import softmax
from model_repo.inception_v3.repository.config import BUILTIN_REPOSITORY, read_labels
from model_repo.inception_v3.runtimes.checkpoint import load_state_dict
from tests.benchmarks.images import make_photo

SIZES = (32, 64, 128, 256)  # of batches, beside the one asked for
CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Bench:
    """What is measured, and on what."""

    device: torch.device
    model: Model
    weights: Weights
    options: RuntimeOptions
    photos: list[bytes]
    sizes: tuple[int, ...]
    batch_size: int
    processes: int
    seconds: float
    rounds: int
    started: float

    @functools.cached_property
    def pixels(self) -> np.ndarray:
        """uint8 [batch_size, 3, 299, 299]"""
        decoded = [preprocess(photo).pixels for photo in self.photos]
        return np.stack([decoded[i % len(decoded)] for i in range(self.batch_size)])

    @functools.cached_property
    def expected(self) -> np.ndarray:
        """Scores of `pixels`, in fp32 on the CPU."""
        options = RuntimeOptions(device="cpu", runtime="torch", precision="fp32", threads=CORES)
        classifier = Classifier.load(self.model, self.weights, options)
        return softmax(classifier.predict(self.pixels).logits)

    @functools.cached_property
    def classifier(self) -> Classifier:
        """What jobs and the service load"""
        return Classifier.load(self.model, self.weights, self.options)

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def module(self) -> ModuleType:
        """torch.cuda, or its like for CPUs"""
        return torch.get_device_module(self.device)


def make_bench(arguments: argparse.Namespace, folder: Path) -> Bench:
    """Prepare everything; `folder` is for temporary files."""
    device = torch.device(arguments.device)
    quick = arguments.quick
    batch_size = 2 if quick else arguments.batch_size
    labels = read_labels(BUILTIN_REPOSITORY / "inception_v3" / "labels.txt")
    model = Model(replace(INCEPTION_V3, labels=labels), folder)
    return Bench(
        device=device,
        model=model,
        weights=keep_weights(find_weights(model, arguments.weights), model, folder),
        options=RuntimeOptions(device=arguments.device, runtime="torch").resolve(),
        photos=[make_photo(500, 375, seed) for seed in range(2 if quick else 48)],
        sizes=tuple(sorted({batch_size, *(SIZES if device.type == "cuda" and not quick else ())})),
        batch_size=batch_size,
        processes=1 if quick else arguments.processes or CORES,
        seconds=0.1 if quick else 2,
        rounds=1 if quick else 5,
        started=time.monotonic(),
    )


def keep_weights(weights: Weights, model: Model, folder: Path) -> Weights:
    """Write seeded weights to a file, since they are loaded often and take seconds to make."""
    if weights.path is not None:
        return weights
    torch.save(load_state_dict(weights, model.spec), folder / "model.pt")
    return Weights(folder / "model.pt", weights.sha256)
