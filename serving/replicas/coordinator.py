"""What all replicas of the service share: which models are wanted, and what was counted.

One small actor beside the deployment, which Serve starts, watches and ends. Every replica calls
`sync` twice a second: it says what it has counted so far and which models it has, and is told which
ones are wanted. Where another ledger has to take over, it knows after that time what all living
replicas have counted and loaded.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from serving.telemetry.statistics import Totals, add_totals

SYNC_PERIOD_S = 0.5
_TOLD_S = 4 * SYNC_PERIOD_S  # after which a new ledger has heard of all replicas
_SILENT_S = 5.0  # a replica that was not heard of for so long is no longer waited for


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a replica has made of a model that was wanted.

    Attributes:
        revision: the one of `Ledger.wanted` that it has tried last.
        error: why that failed.
        precision: that it runs in since; None where that failed.
    """

    revision: int
    error: str | None = None
    precision: str | None = None


LOADING = Loaded(-1)  # for the first time


@dataclass(slots=True)
class _Replica:
    heard: float
    loaded: dict[str, Loaded] = field(default_factory=dict)


class Ledger:
    """See the module. Wanted is reference → revision, raised when it is to be loaded anew."""

    def __init__(self, references: list[str]) -> None:
        self._began = time.monotonic()
        self._wanted = dict.fromkeys(references, 0)
        self._configured = tuple(references)
        self._revision = 0
        self._replicas: dict[str, _Replica] = {}
        self._counted: dict[str, Totals] = {}
        self._agreed: dict[str, tuple[int, str]] = {}  # reference → since which revision

    def sync(self, replica_id: str, counted: Totals, loaded: dict[str, Loaded]) -> dict[str, int]:
        """Take what a replica has counted since it began; return what is wanted."""
        if counted:
            self._counted[replica_id] = counted
        now = time.monotonic()
        if replica_id not in self._replicas and now - self._began < _TOLD_S:
            for reference, state in loaded.items():  # for the ledger before this one
                self._wanted.setdefault(reference, state.revision)
        for reference, state in loaded.items():
            if state.precision:
                self.agree(reference, state.revision, state.precision)
        self._replicas[replica_id] = _Replica(now, loaded)
        silent = [key for key, one in self._replicas.items() if now - one.heard > _SILENT_S]
        for key in silent:
            del self._replicas[key]
        return self._wanted

    def agree(self, reference: str, revision: int, precision: str) -> str:
        """Return what all replicas run a revision in: what the first of them has chosen.

        By the time that another comes, `auto` may be something else.
        """
        since, agreed = self._agreed.get(reference, (-1, precision))
        if since < revision:
            self._agreed[reference] = revision, precision
            return precision
        return agreed

    def totals(self) -> Totals | None:
        """Return what was counted by all replicas, those that are gone included.

        It is None while replicas may not have had the time to say it.
        """
        if time.monotonic() - self._began < _TOLD_S:
            return None
        totals: Totals = {}
        for counted in self._counted.values():
            add_totals(totals, counted)
        return totals

    def load(self, name: str) -> dict[str, int]:
        """Want the model `name`, anew if it is there; return its references and their revision."""
        # Above whatever a ledger before this one has given out.
        self._revision = max(self._revision + 1, time.time_ns())
        references = [key for key in self._configured if key.partition(":")[0] == name] or [name]
        added = dict.fromkeys(references, self._revision)
        self._wanted |= added
        return added

    def unload(self, name: str) -> None:
        """Want the model `name` no more."""
        self._wanted = {
            key: revision for key, revision in self._wanted.items() if key.partition(":")[0] != name
        }

    def errors(self, revisions: dict[str, int]) -> list[str] | None:
        """Return why replicas could not load `revisions`, or None while some are still at it."""
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
        """Say whether no replica has the model `name` any more, or it is wanted again."""
        if _names(self._wanted, name):
            return True
        return not any(_names(replica.loaded, name) for replica in self._replicas.values())


def _names(references: Iterable[str], name: str) -> bool:
    return any(reference.partition(":")[0] == name for reference in references)
