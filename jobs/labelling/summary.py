"""What became of chunks: a summary of each, and whether too many images are broken."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from jobs.dataset.schema import IMAGE_FAULTS, NOT_AN_IMAGE
from jobs.errors import ErrorRateError

# A job is not stopped for what its first few images are like.
_FEWEST_IMAGES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What became of one chunk, or of several added up.

    Attributes:
        objects, errors: how many there were, and how many of them could not be labelled.
        faults: for how many of those the image itself is to blame.
        not_images: how many of those are no images at all.
        seconds: how long workers took.
        total: objects in the whole listing, once that is known.
        model_s, write_s: of the seconds, for predicting and for writing; in the others, images were
            fetched and decoded.
        cpu_s: CPU seconds of all processes that worked on it.
        ahead_s: how long it lay decoded before it was labelled.
    """

    objects: int = 0
    errors: int = 0
    faults: int = 0
    not_images: int = 0
    seconds: float = 0.0
    total: int | None = None
    model_s: float = 0.0
    write_s: float = 0.0
    cpu_s: float = 0.0
    ahead_s: float = 0.0

    def __add__(self, other: "Summary") -> "Summary":
        names = [field.name for field in fields(self) if field.name != "total"]
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        return Summary(total=other.total or self.total, **sums)


def check_error_rate(done: Summary, limit: float, *, good_before: int = 0) -> None:
    """Stop a job that goes wrong.

    What the storage or a lost worker did does not count; nor does what is no image at all.

    Raises:
        ErrorRateError: too many images are broken, of those `done` in this run and those that
            earlier generations labelled.
    """
    images = good_before + done.objects - done.not_images
    if images >= _FEWEST_IMAGES and done.faults > limit * images:
        raise ErrorRateError(
            f"stopped: {done.faults:,} of {images:,} images so far are broken or too large, more "
            f"than --max-error-rate {limit:g} allows; what is done is kept, and the same command "
            "with a higher rate continues"
        )


def is_over(counts: Mapping[str, Any], limit: float) -> bool:
    """Say whether a dataset with the `counts` of a job's record has too many broken images.

    One with nothing but errors has, whatever the limit.
    """
    faults = sum(counts["errors"].get(kind, 0) for kind in IMAGE_FAULTS)
    images = counts["listed"] - counts["errors"].get(NOT_AN_IMAGE, 0)
    return bool(faults > limit * images or not counts["ok"])
