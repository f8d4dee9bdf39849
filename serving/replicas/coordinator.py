"""What all replicas of the service share: which models are wanted, and what was counted.

One small actor beside the deployment; Serve starts it, watches it and ends it. Every replica calls
`sync` twice a second: it reports its counts and its models, and learns which models are wanted. So
a new coordinator, after a crash, soon knows what all living replicas have counted and loaded.
"""

import time
from typing import NamedTuple

from serving.models.state import LOADING, Loaded
from serving.telemetry.statistics import Totals, add_up

ACTOR_NAME = "coordinator"
SYNC_PERIOD_S = 0.5
_TOLD_S = 4 * SYNC_PERIOD_S  # by then a new coordinator has heard from all replicas
_SILENT_S = 5.0  # a replica that is silent for longer counts as gone


class _Replica(NamedTuple):
    heard: float
    loaded: dict[str, Loaded]


class Coordinator:
    """See the module. `wanted` is reference → revision; a higher one means to reload."""

    def __init__(self, references: list[str]) -> None:
        self._began = time.monotonic()
        self._wanted = dict.fromkeys(references, 0)
        self._configured = tuple(references)
        self._revision = 0
        self._replicas: dict[str, _Replica] = {}
        self._counted: dict[str, Totals] = {}

    def sync(self, replica_id: str, counted: Totals, loaded: dict[str, Loaded]) -> dict[str, int]:
        """Take a replica's counts since its start and its models; return what is wanted."""
        if counted:
            self._counted[replica_id] = counted
        now = time.monotonic()
        if replica_id not in self._replicas and now - self._began < _TOLD_S:
            for reference, state in loaded.items():  # told to the coordinator before this one
                self._wanted.setdefault(reference, state.revision)
        self._replicas[replica_id] = _Replica(now, loaded)
        self._replicas = {
            key: one for key, one in self._replicas.items() if now - one.heard <= _SILENT_S
        }
        return self._wanted

    def totals(self) -> Totals | None:
        """Return the counts of all replicas, past ones included.

        They are None while replicas may not have reported yet.
        """
        if time.monotonic() - self._began < _TOLD_S:
            return None
        return add_up(self._counted.values())

    def load(self, name: str) -> dict[str, int]:
        """Want the model `name` loaded or reloaded; return its references and their revision."""
        # Higher than any that an earlier coordinator has given out.
        self._revision = max(self._revision + 1, time.time_ns())
        references = [key for key in self._configured if _names(key, name)] or [name]
        added = dict.fromkeys(references, self._revision)
        self._wanted |= added
        return added

    def unload(self, name: str) -> None:
        """Want the model `name` unloaded."""
        for key in [key for key in self._wanted if _names(key, name)]:
            del self._wanted[key]

    def errors(self, revisions: dict[str, int]) -> list[str] | None:
        """Return why replicas could not load `revisions`, or None while some are still loading."""
        if not revisions.keys() <= self._wanted.keys():
            return ["it was unloaded meanwhile"]
        states = [
            replica.loaded.get(reference, LOADING)
            for replica in self._replicas.values()
            for reference in revisions
        ]
        if any(state.revision < next(iter(revisions.values())) for state in states):
            return None
        return sorted({state.error for state in states if state.error})

    def is_unloaded(self, name: str) -> bool:
        """Say whether all replicas have unloaded the model `name`, or it is wanted again."""
        loaded = [key for replica in self._replicas.values() for key in replica.loaded]
        is_wanted = any(_names(key, name) for key in self._wanted)
        return is_wanted or not any(_names(key, name) for key in loaded)


def _names(reference: str, name: str) -> bool:
    return reference.partition(":")[0] == name
