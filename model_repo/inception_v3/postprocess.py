"""Logits → predictions. Plain numpy; every prediction is made here."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_repo.inception_v3.errors import InputError, ModelError
from model_repo.inception_v3.spec import Floats, ModelSpec

DEFAULT_TOP_K = 5


@dataclass(frozen=True, slots=True)
class Label:
    """One class with its softmax score; `index` is its line in labels.txt, from 0."""

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


def softmax(logits: Floats) -> Floats:
    """Turn logits float32 [N, classes] into scores float32 [N, classes] that add up to 1."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    return scores


def choose_top_k(asked: int | None, spec: ModelSpec) -> int:
    """Return how many labels each image gets; without a wish 5, or as many as there are classes.

    Raises:
        ModelError: more were asked for than there are classes.
    """
    if asked is None:
        return min(DEFAULT_TOP_K, spec.num_classes)
    if asked > spec.num_classes:
        raise ModelError(
            f"{asked:,} is more than the {spec.num_classes:,} classes of model {spec.name!r}"
        )
    return asked


def postprocess(logits: Floats, labels: Sequence[str], top_k: int = 5) -> list[Prediction]:
    """Name the `top_k` best classes for each row of `logits`, float32 [N, classes], in order.

    Classes with equal scores keep the order of `labels`.

    Raises:
        InputError: `logits` does not have one column per label.
    """
    if logits.ndim != 2 or logits.shape[1] != len(labels):
        raise InputError(f"logits of shape {logits.shape} do not fit {len(labels)} labels")
    if not len(logits):
        return []
    scores = softmax(logits)
    best = _best_classes(scores, top_k)
    best_scores = np.take_along_axis(scores, best, axis=1)
    return [
        Prediction(tuple(Label(i, labels[i], score) for i, score in zip(*row, strict=True)))
        for row in zip(best.tolist(), best_scores.tolist(), strict=True)
    ]


def _best_classes(scores: Floats, count: int) -> npt.NDArray[np.intp]:
    """Return the `count` best classes of each row, best first; equal scores keep their order."""
    if count >= scores.shape[1]:
        return _rank(scores)
    # Ranking a thousand classes to keep five would dominate.
    least = np.partition(scores, -count, axis=1)[:, -count, None]
    is_best = scores >= least
    is_clear = is_best.sum(axis=1) == count  # no ties with the last one, and no NaN
    best = np.empty((len(scores), count), np.intp)
    candidates = np.nonzero(is_best[is_clear])[1].reshape(-1, count)
    ranks = _rank(np.take_along_axis(scores[is_clear], candidates, axis=1))
    best[is_clear] = np.take_along_axis(candidates, ranks, axis=1)
    best[~is_clear] = _rank(scores[~is_clear])[:, :count]
    return best


def _rank(scores: Floats) -> npt.NDArray[np.intp]:
    return np.argsort(-scores, axis=1, kind="stable")
