"""The one Serve deployment: protocol and model in one, since each further hop costs dearly."""

import asyncio
import contextlib
import ctypes
import logging
from typing import Any

import ray
from pydantic import ValidationError
from ray import serve
from ray.exceptions import RayActorError
from starlette.types import ASGIApp

from model_repo.inception_v3 import ModelError, RuntimeOptions
from serving.config import ServingConfig
from serving.errors import UnavailableError
from serving.grpc.methods import GrpcMethods
from serving.http.app import build_http_app
from serving.models.predictor import Decoders
from serving.models.registry import Models
from serving.replicas.control import Control
from serving.replicas.coordinator import SYNC_PERIOD_S
from serving.service import Service
from serving.telemetry.metrics import Metrics
from serving.telemetry.statistics import Statistics

NAME = "labelmill"
LEDGER = "ledger"

_M_MMAP_THRESHOLD = -3  # malloc.h's number; set, it no longer grows with what was freed
_LARGE_BYTES = 2 * 1024 * 1024

logger = logging.getLogger("ray.serve")


class Labelmill(GrpcMethods):
    """One replica. Serve routes to it once it is made, which is when its models are warm."""

    async def __init__(self, config: ServingConfig) -> None:  # type: ignore[misc]
        resources = ray.get_runtime_context().get_assigned_resources()
        threads = max(1, int(resources.get("CPU", 1)))
        options = RuntimeOptions(
            # Ray does not hide GPUs from those that have none of them.
            device="cuda" if resources.get("GPU") else "cpu",
            runtime=config.runtime,
            precision=config.precision or "auto",
            threads=threads,
        )
        _give_back_large_blocks()
        # Two at least: a large image in one of them is then not in everybody's way.
        decoders = Decoders(max(2, threads))
        metrics, statistics = Metrics(), Statistics()
        models = Models(config, options, decoders, metrics, statistics)
        self.service = Service(config, models, metrics, statistics)
        replica_id = serve.get_replica_context().replica_id.unique_id
        self.control = Control(self.service, AskLedger(), replica_id)
        await self.control.start()
        if errors := models.errors():
            raise ModelError("; ".join(errors))
        self._sync = asyncio.create_task(self._keep_in_sync())

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Build what answers HTTP; called once, after the constructor."""
        return build_http_app(self.service, self.control)

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take over the `user_config` that Serve was given; requests go on meanwhile.

        A wrong one is logged, and changes nothing: Serve would end a replica that refuses it.
        """
        try:
            self.service.reconfigure(user_config)
        except ValidationError as exc:
            logger.error("user_config is wrong, and nothing of it is used: %s", exc)

    def check_health(self) -> None:
        """Check that the model answers and the replica keeps up; Serve replaces one that fails.

        Raises:
            RuntimeError: it does not.
        """
        self.service.check_health()
        if self._sync.done():
            raise RuntimeError("the replica has lost touch with the others") from (
                self._sync.exception()
            )

    async def _keep_in_sync(self) -> None:
        while True:
            await asyncio.sleep(SYNC_PERIOD_S)
            try:
                await self.control.sync()
            except UnavailableError as exc:
                logger.warning("%s", exc)


class AskLedger:
    """Calls the ledger's actor by its name: where it has died, Serve has started another."""

    def __init__(self) -> None:
        self._actor: Any = None

    async def __call__(self, method: str, *arguments: Any) -> Any:
        """Call `serving.replicas.coordinator.Ledger`'s `method`.

        Raises:
            UnavailableError: there is no ledger at the moment.
        """
        try:
            if self._actor is None:
                self._actor = serve.get_deployment_actor(LEDGER)
            return await getattr(self._actor, method).remote(*arguments)
        except (RayActorError, ValueError) as exc:  # dead, or dead and not there again yet
            self._actor = None
            raise UnavailableError(
                "the replicas' ledger is being started anew; try again in some seconds"
            ) from exc


def _give_back_large_blocks() -> None:
    """Make glibc, where it is what allocates, return what a large image took as soon as it can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
