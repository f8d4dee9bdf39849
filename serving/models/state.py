"""What a replica says of one model that is wanted; the coordinator hears it."""

from dataclasses import dataclass

from model_repo.inception_v3.options import Precision


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a replica has made of a model that was wanted.

    Attributes:
        revision: the last one that it has tried.
        error: why that failed.
        precision: that it runs in since; None where that failed.
    """

    revision: int
    error: str | None = None
    precision: Precision | None = None


LOADING = Loaded(-1)  # for the first time
