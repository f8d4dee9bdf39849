"""What became of chunks: a summary of each, and whether too many images are broken."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.dataset.schema import IMAGE_FAULTS
from jobs.errors import ErrorRateError, JobError, SpecError, StorageError
from model_repo.inception_v3 import ModelError

# A job is not stopped for what its first few images are like.
_FEWEST_IMAGES = 1000

# What a worker may raise for the user to read; a stage returns it as a `Failure`.
OUR_ERRORS = (JobError, ModelError)
_KINDS: dict[str, type[JobError]] = {"spec": SpecError, "storage": StorageError, "job": JobError}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a worker cannot go on, as data; `kind` is `spec`, `storage` or `job`."""

    kind: str
    message: str

    @classmethod
    def of(cls, exc: Exception) -> "Failure":
        """Describe one of `OUR_ERRORS`."""
        kinds = (kind for kind, error in _KINDS.items() if isinstance(exc, error))
        return cls(next(kinds, "job"), str(exc))

    def to_error(self) -> JobError:
        """Return what the driver raises."""
        return _KINDS[self.kind](self.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What became of one chunk.

    Attributes:
        objects: of the chunk.
        errors: how many of them could not be labelled.
        faults: for how many of those the image itself is to blame.
        seconds: that workers took for it.
        total: objects in the whole listing, once that is known.
        model_s, write_s: of the seconds, for predicting and for writing; in the others images were
            fetched and decoded.
        cpu_s: of all processes that worked on it.
        ahead_s: that it lay decoded before it was labelled.
    """

    objects: int = 0
    errors: int = 0
    faults: int = 0
    seconds: float = 0.0
    total: int | None = None
    model_s: float = 0.0
    write_s: float = 0.0
    cpu_s: float = 0.0
    ahead_s: float = 0.0


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
