"""The state of a wanted model in one replica, as the coordinator hears of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Loaded:
    """The last attempt of a replica to load a model, and why it failed."""

    revision: int
    error: str | None = None


LOADING = Loaded(-1)  # for the first time
