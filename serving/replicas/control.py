"""What concerns all replicas, by way of the ledger: the repository's models, the statistics."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from model_repo.inception_v3.repository.locate import list_repository
from serving.errors import (
    BadRequestError,
    NotFoundError,
    UnavailableError,
    UnimplementedError,
)
from serving.models.registry import repository_name
from serving.replicas.coordinator import SYNC_PERIOD_S
from serving.service import Service
from serving.storage import S3Store
from serving.telemetry.statistics import to_protocol

_POLL_S = 0.1
# Whatever a replica counted before has reached the ledger after this time.
_SETTLED_S = SYNC_PERIOD_S + 0.2


# Calls a method of `serving.replicas.coordinator.Ledger`, which is in another process.
AskLedger = Callable[..., Awaitable[Any]]


class Control:
    """One replica's side of what all share."""

    def __init__(self, service: Service, ask_ledger: AskLedger, replica_id: str) -> None:
        self._service = service
        self._ask = ask_ledger
        self._replica_id = replica_id
        self._applying: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what is wanted, and what comes to be wanted meanwhile."""
        while not await self.sync():
            await asyncio.sleep(_POLL_S)

    async def sync(self) -> bool:
        """Report what was counted so far; begin to load and unload what is wanted.

        Loading takes longer than the ledger waits for a sign of life, so it goes on by itself.

        Returns:
            Whether what is wanted is there, or could not be loaded.
        """
        models = self._service.models
        counted = self._service.statistics.totals
        wanted = await self._ask("sync", self._replica_id, counted, models.loaded)
        if self._applying is not None:
            if not self._applying.done():
                return False
            self._applying.result()
            self._applying = None
        if models.are_as(wanted):
            return True
        self._applying = asyncio.create_task(models.apply(wanted, self._agree))
        return False

    async def _agree(self, reference: str, revision: int, precision: str) -> str:
        """Ask the ledger for the precision that all replicas take, until there is one."""
        while True:
            try:
                agreed: str = await self._ask("agree", reference, revision, precision)
            except UnavailableError:
                await asyncio.sleep(_POLL_S)
            else:
                return agreed

    async def statistics(self, name: str = "", version: str = "") -> dict[str, Any]:
        """Return the statistics of one model, or of all, since this version of the service began.

        Raises:
            NotFoundError: there is no such model.
        """
        models = self._service.models
        wanted = [models.find(name, version)] if name else models.all()
        await asyncio.sleep(_SETTLED_S)
        while (totals := await self._ask("totals")) is None:
            await asyncio.sleep(_POLL_S)
        return to_protocol(totals, [(served.name, served.version) for served in wanted])

    async def index(self, *, ready_only: bool = False) -> list[dict[str, str]]:
        """Return what the repository holds: name, version, state and reason of each model."""
        ready = [
            {"name": served.name, "version": served.version, "state": "READY", "reason": ""}
            for served in self._service.models.all()
        ]
        if ready_only:
            return ready
        config = self._service.config
        names = await asyncio.to_thread(list_repository, config.model_repository, S3Store())
        known = {each["name"] for each in ready}
        return ready + [
            {"name": name, "version": "", "state": "UNAVAILABLE", "reason": "not loaded"}
            for name in names
            if name not in known
        ]

    async def load(self, name: str, *, with_parameters: bool = False) -> None:
        """Load `name`, or load it anew, in every replica.

        Raises:
            UnimplementedError: the model is not to be as the repository has it.
            NotFoundError: the repository has no such model.
            BadRequestError: it cannot be loaded.
        """
        if with_parameters:
            raise UnimplementedError("a model is loaded as the repository has it, no parameters")
        repository = self._service.config.model_repository
        known = await asyncio.to_thread(list_repository, repository, S3Store())
        name = name if name in known else repository_name(name)
        if name not in known:
            raise NotFoundError(f"the model repository has no model {name!r}")
        revisions = await self._ask("load", name)
        while (errors := await self._ask("errors", revisions)) is None:
            await asyncio.sleep(_POLL_S)
        if errors:
            if not any(served.name == name for served in self._service.models.all()):
                await self._ask("unload", name)
            raise BadRequestError(f"cannot load model {name!r}: {'; '.join(errors)}")

    async def unload(self, name: str) -> None:
        """Unload `name` from every replica.

        Raises:
            NotFoundError: it is not loaded.
        """
        name = self._service.models.find(name).predictor.spec.name
        await self._ask("unload", name)
        while not await self._ask("is_unloaded", name):
            await asyncio.sleep(_POLL_S)
