"""How well two networks agree on the same images. Plain numpy."""

from dataclasses import dataclass

import numpy as np

from model_repo.inception_v3.postprocess import softmax
from model_repo.inception_v3.spec import Floats

_TOP = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well a second network's answers match the first one's; kept as sums, so batches add up.

    Attributes:
        images: how many were compared.
        kept: how many of them have the same best class.
        shared: the share (0..1) of the five best classes in common, summed over images.
        largest_change: the largest change of any softmax score.
    """

    images: int = 0
    kept: int = 0
    shared: float = 0.0
    largest_change: float = 0.0

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(
            images=self.images + other.images,
            kept=self.kept + other.kept,
            shared=self.shared + other.shared,
            largest_change=max(self.largest_change, other.largest_change),
        )

    @property
    def top1_kept(self) -> float:
        """Return the share (0..1) of images with the same best class."""
        return self.kept / self.images

    @property
    def top5_overlap(self) -> float:
        """Return the mean share (0..1) of the five best classes in common."""
        return self.shared / self.images


def compare(first: Floats, second: Floats) -> Agreement:
    """Compare two networks' logits, float32 [N, classes] each, of the same N images in order.

    An image with logits of the second that are not finite counts as no match at all.
    """
    finite = np.asarray(np.isfinite(second).all(axis=1))
    usable = np.where(finite.reshape(-1, 1), second, 0)
    # As in `postprocess`: of equal scores, the first class wins.
    ours, theirs = (np.argsort(-logits, axis=1, kind="stable") for logits in (first, usable))
    same = (ours[:, :_TOP, None] == theirs[:, None, :_TOP]).any(axis=2).mean(axis=1)
    change = np.abs(softmax(first) - softmax(usable)).max(axis=1)
    return Agreement(
        images=len(first),
        kept=int(((ours[:, 0] == theirs[:, 0]) & finite).sum()),
        shared=float((same * finite).sum()),
        largest_change=float(np.where(finite, change, 1).max()),
    )
