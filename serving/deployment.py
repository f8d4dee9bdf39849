"""The one Serve deployment: protocol and model in one process, since every hop is expensive."""

import asyncio
import contextlib
import ctypes
import logging
from typing import Any

import ray
from pydantic import ValidationError
from ray import serve
from starlette.types import ASGIApp

from model_repo.inception_v3 import ModelError, RuntimeOptions
from serving.config import ServingConfig
from serving.errors import UnavailableError
from serving.grpc.methods import GrpcMethods
from serving.http.app import build_http_app
from serving.models.predictor import Decoders
from serving.models.registry import Models
from serving.replicas.control import AskCoordinator, Control
from serving.replicas.coordinator import SYNC_PERIOD_S
from serving.service import Service
from serving.telemetry.metrics import Metrics
from serving.telemetry.statistics import Statistics

NAME = "labelmill"

_M_MMAP_THRESHOLD = -3  # from malloc.h; once set, glibc no longer raises it
_LARGE_BYTES = 2 * 1024 * 1024

logger = logging.getLogger("ray.serve")


class Labelmill(GrpcMethods):
    """One replica. Serve sends it requests once its constructor is done and its models are warm."""

    async def __init__(self, config: ServingConfig) -> None:  # type: ignore[misc]
        resources = ray.get_runtime_context().get_assigned_resources()
        threads = max(1, int(resources.get("CPU", 1)))
        options = RuntimeOptions(
            # Ray does not hide GPUs from actors that asked for none.
            device="cuda" if resources.get("GPU") else "cpu",
            runtime=config.runtime,
            precision=config.precision or "auto",
            threads=threads,
        )
        _give_back_large_blocks()
        # At least two: one large image must not hold up all others.
        decoders = Decoders(max(2, threads))
        metrics, statistics = Metrics(), Statistics()
        models = Models(config, options, decoders, metrics, statistics)
        self.service = Service(config, models, metrics, statistics)
        replica_id = serve.get_replica_context().replica_id.unique_id
        self.control = Control(self.service, AskCoordinator(), replica_id)
        await self.control.start()
        if errors := models.errors():
            raise ModelError("; ".join(errors))
        self._sync = asyncio.create_task(self._keep_in_sync())

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Build what answers HTTP; called once, after the constructor."""
        return build_http_app(self.service, self.control)

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Apply Serve's `user_config`, while requests go on.

        A wrong one is logged and changes nothing: Serve would end a replica that raises.
        """
        try:
            self.service.reconfigure(user_config)
        except ValidationError as exc:
            logger.error("user_config is wrong; none of it is used: %s", exc)

    def check_health(self) -> None:
        """Check that the model and the coordinator respond; Serve replaces a replica that fails.

        Raises:
            RuntimeError: one of them does not.
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


def _give_back_large_blocks() -> None:
    """Make glibc return the memory of large images to the system as soon as they are freed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
