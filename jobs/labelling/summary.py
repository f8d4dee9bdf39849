"""`--max-error-rate`: which errors count, and when there are too many of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.dataset.schema import IMAGE_FAULTS
from jobs.errors import ErrorRateError
from jobs.listing.chunks import Summary

# A job is not stopped for what its first few images are like.
_FEWEST_IMAGES = 1000


@dataclass(slots=True)
class ErrorRate:
    """Counts the images that are broken; what storage or a lost worker did does not count.

    Attributes:
        limit: `--max-error-rate`.
        images: so far, the good ones of earlier generations included.
        faults: how many of this run's are broken.
    """

    limit: float
    images: int = 0
    faults: int = 0

    def add(self, summary: Summary) -> None:
        """Count a chunk."""
        self.images += summary.objects
        self.faults += summary.faults

    def check(self) -> None:
        """Stop a job that goes wrong.

        Raises:
            ErrorRateError: of the images so far too many are broken.
        """
        if self.images >= _FEWEST_IMAGES and self.faults > self.limit * self.images:
            raise ErrorRateError(
                f"stopped: {self.faults:,} of {self.images:,} images so far are broken or too "
                f"large, more than --max-error-rate {self.limit:g} allows; what is done is kept, "
                "and the same command with a higher rate continues"
            )


def is_over(counts: Mapping[str, Any], limit: float) -> bool:
    """Say whether a whole dataset has too many broken images, or nothing but errors.

    Args:
        counts: as the job's record has them.
        limit: `--max-error-rate`.
    """
    faults = sum(counts["errors"].get(kind, 0) for kind in IMAGE_FAULTS)
    return bool(faults > limit * counts["listed"] or not counts["ok"])
