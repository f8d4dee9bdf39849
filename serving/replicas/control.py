"""One replica's side of what all share: which models are loaded, and the statistics."""

import asyncio
from typing import Any

from ray import serve
from ray.exceptions import RayActorError

from model_repo.inception_v3.repository.locate import list_repository
from serving.errors import BadRequestError, NotFoundError, UnavailableError, UnimplementedError
from serving.protocol.metadata import IMAGE_SUFFIX
from serving.replicas.coordinator import ACTOR_NAME, SYNC_PERIOD_S
from serving.service import Service
from serving.telemetry.statistics import to_protocol

_POLL_S = 0.1
# After this time the coordinator knows what each replica had counted before.
_SETTLED_S = SYNC_PERIOD_S + 0.2


class AskCoordinator:
    """Calls the coordinator by name; if it dies, Serve starts another."""

    def __init__(self) -> None:
        self._actor: Any = None

    async def __call__(self, method: str, *arguments: Any) -> Any:
        """Call `serving.replicas.coordinator.Coordinator`'s `method`.

        Raises:
            UnavailableError: there is none at the moment.
        """
        try:
            if self._actor is None:
                self._actor = serve.get_deployment_actor(ACTOR_NAME)
            return await getattr(self._actor, method).remote(*arguments)
        except (RayActorError, ValueError) as exc:  # it died, and may not be back yet
            self._actor = None
            raise UnavailableError(
                "the replicas' coordinator is restarting; try again in a few seconds"
            ) from exc


class Control:
    """Keeps one replica in step with the others, by way of the coordinator."""

    def __init__(self, service: Service, ask: AskCoordinator, replica_id: str) -> None:
        self._service = service
        self._ask = ask
        self._replica_id = replica_id
        self._applying: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the wanted models, and any that are wanted meanwhile."""
        while not await self.sync():
            await asyncio.sleep(_POLL_S)

    async def sync(self) -> bool:
        """Report the counts so far, and begin to load and unload as wanted.

        Loading runs in a task, since the coordinator must hear from this replica meanwhile.

        Returns:
            Whether all that is wanted was loaded or has failed to load.
        """
        models = self._service.models
        counted = self._service.statistics.totals
        wanted = await self._ask("sync", self._replica_id, counted, models.loaded)
        if self._applying is not None:
            if not self._applying.done():
                return False
            self._applying.result()  # it may raise
            self._applying = None
        if models.are_as(wanted):
            return True
        self._applying = asyncio.create_task(models.apply(wanted))
        return False

    async def statistics(self, name: str = "", version: str = "") -> dict[str, Any]:
        """Return the statistics of one model, or of all, since the service was deployed.

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
        """Return the repository's models: name, version, state and reason of each."""
        ready = [
            {"name": served.name, "version": served.version, "state": "READY", "reason": ""}
            for served in self._service.models.all()
        ]
        if ready_only:
            return ready
        known = {each["name"] for each in ready}
        return ready + [
            {"name": name, "version": "", "state": "UNAVAILABLE", "reason": "not loaded"}
            for name in await self._names()
            if name not in known
        ]

    async def _names(self) -> list[str]:
        return await asyncio.to_thread(list_repository, self._service.config.model_repository)

    async def load(self, name: str, *, with_parameters: bool = False) -> None:
        """Load or reload `name` in every replica.

        Raises:
            UnimplementedError: the request has parameters.
            NotFoundError: the repository has no such model.
            BadRequestError: it cannot be loaded.
        """
        if with_parameters:
            raise UnimplementedError("a model is loaded without parameters, as it is stored")
        known = await self._names()
        name = name if name in known else name.removesuffix(IMAGE_SUFFIX)
        if name not in known:
            raise NotFoundError(f"the model repository has no model {name!r}")
        revisions = await self._ask("load", name)
        while (errors := await self._ask("errors", revisions)) is None:
            await asyncio.sleep(_POLL_S)
        if errors:
            if name not in [served.name for served in self._service.models.all()]:
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
