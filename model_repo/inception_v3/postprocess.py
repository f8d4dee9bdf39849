"""Logits → what the model says of one image. Plain numpy; used wherever a prediction is made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_repo.inception_v3.errors import InputError


@dataclass(frozen=True, slots=True)
class Label:
    """One class with its softmax score; `index` is its place in labels.txt."""

    index: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The top-k classes of one image, best first."""

    labels: tuple[Label, ...]

    @property
    def top(self) -> Label:
        """Return the best class."""
        return self.labels[0]


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Turn logits float32 [N, classes] into scores float32 [N, classes] that add up to 1."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores: npt.NDArray[np.float32] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return scores


def postprocess(
    logits: npt.NDArray[np.float32], labels: Sequence[str], top_k: int = 5
) -> list[Prediction]:
    """Name the best classes of each image.

    Args:
        logits: float32 [N, classes].
        labels: class names; equal scores keep their order.
        top_k: how many classes to keep; more than there are means all.

    Returns:
        One prediction per row of `logits`, in order.

    Raises:
        InputError: `logits` does not have one column per label.
    """
    if logits.ndim != 2 or logits.shape[1] != len(labels):
        raise InputError(f"logits of shape {logits.shape} do not fit {len(labels)} labels")
    if not len(logits):
        return []
    scores = softmax(logits)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    return [
        Prediction(tuple(Label(int(i), labels[i], float(row[i])) for i in indices))
        for row, indices in zip(scores, best, strict=True)
    ]
