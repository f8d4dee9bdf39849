"""The state of a wanted model in one replica, as the coordinator hears of it."""

from dataclasses import dataclass

from model_repo.inception_v3.options import Precision


@dataclass(frozen=True, slots=True)
class Loaded:
    """The last attempt of a replica to load a model.

    Attributes:
        revision: of the attempt.
        error: why it failed.
        precision: that it runs in since; None where that failed.
    """

    revision: int
    error: str | None = None
    precision: Precision | None = None


LOADING = Loaded(-1)  # for the first time
