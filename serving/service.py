"""What the service does, whatever the protocol: admit → decode → predict → label.

HTTP and gRPC translate to and from this; nothing here knows either.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any, TypeVar

import numpy as np

from model_repo.inception_v3 import DecodeError
from model_repo.inception_v3.preprocess import Preprocessed
from serving.admission import Admission, Ticket
from serving.config import ServingConfig, UserConfig
from serving.errors import DeadlineError, OverloadedError
from serving.models.predictor import Output
from serving.models.registry import Models, Served
from serving.protocol.inputs import read_images, read_pixels
from serving.protocol.outputs import build_outputs, check_outputs
from serving.protocol.tensors import InferRequest, InferResponse
from serving.telemetry.metrics import Metrics
from serving.telemetry.statistics import Statistics

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """One image that was labelled."""

    output: Output
    prepared: Preprocessed | None = None  # None where the request held pixels
    decode_s: float = 0.0


class Service:
    """What the requests of one replica share."""

    def __init__(
        self, config: ServingConfig, models: Models, metrics: Metrics, statistics: Statistics
    ) -> None:
        self.config = config
        self.models = models
        self.metrics = metrics
        self.statistics = statistics
        self.admission = Admission(config)

    @property
    def limits(self) -> UserConfig:
        """Return the current limits."""
        return self.admission.config

    def reconfigure(self, changes: dict[str, object]) -> None:
        """Apply Serve's `user_config`; what it does not name stays as the arguments say."""
        values = self.config.model_dump(include=set(UserConfig.model_fields))
        self.admission.config = UserConfig.model_validate(values | changes)
        self.models.reconfigure(self.admission.config)

    @asynccontextmanager
    async def admit(self, byte_count: int, timeout_s: float | None) -> AsyncIterator[Ticket]:
        """Admit one request, within the client's time limit, if any, and the service's.

        Raises:
            ContentTooLargeError: the body is over the limit.
            OverloadedError: there is no room.
            DeadlineError: the time is up.
        """
        limit_s = min(self.limits.request_timeout_s, timeout_s or inf)
        per_image_s = max((one.per_image_s for one in self.models.predictors()), default=0.0)
        try:
            with self.admission.admit(byte_count, per_image_s) as ticket:
                async with asyncio.timeout(limit_s):
                    yield ticket
        except TimeoutError as exc:
            raise DeadlineError(f"no answer within {limit_s:g} s") from exc

    async def label_images(
        self, served: Served, images: Sequence[bytes], ticket: Ticket
    ) -> list[Labelled | DecodeError]:
        """Label encoded images, in order; a bad one fails alone.

        Raises:
            OverloadedError: there is no room for so many.
        """
        with self._counted(served, len(images), ticket) as found:
            sent = ticket.sent_bytes
            found.extend(await _all([_label_image(served, each, sent) for each in images]))
        return found

    async def infer(self, served: Served, request: InferRequest, ticket: Ticket) -> InferResponse:
        """Answer one request of the Open Inference Protocol.

        Raises:
            BadRequestError: its inputs or outputs are not the model's.
            DecodeError: an image cannot be labelled.
            OverloadedError: there is no room for so many.
            DeadlineError: the time of its parameter `timeout` is up.
        """
        check_outputs(request, served.config)
        timeout_us = request.parameters.get("timeout")  # checked to be a whole number
        seconds = int(timeout_us) / 1e6 if timeout_us else None
        try:
            async with asyncio.timeout(seconds):
                labelled = await self._label_inputs(served, request, ticket)
        except TimeoutError as exc:
            raise DeadlineError(f"no answer within the request's timeout of {seconds:g} s") from exc
        logits = np.stack([one.output.logits for one in labelled])
        return InferResponse(
            model_name=served.name,
            model_version=served.version,
            id=request.id,
            outputs=build_outputs(logits, served.predictor.spec.labels, request),
        )

    async def _label_inputs(
        self, served: Served, request: InferRequest, ticket: Ticket
    ) -> list[Labelled]:
        if served.encoded:
            found = await self.label_images(served, read_images(request, served.config), ticket)
        else:
            pixels = read_pixels(request, served.config)
            with self._counted(served, len(pixels), ticket) as found:
                outputs = await _all([served.predictor.predict(each) for each in pixels])
                found.extend(map(Labelled, outputs))
        for place, one in enumerate(found):
            if isinstance(one, DecodeError):
                raise DecodeError(one.kind, f"image {place}: {one}" if len(found) > 1 else str(one))
        return [one for one in found if isinstance(one, Labelled)]

    def check_health(self) -> None:
        """Check that no forward pass hangs.

        Raises:
            RuntimeError: one does.
        """
        for predictor in self.models.predictors():
            began = predictor.busy_since
            if began is not None and time.monotonic() - began > self.limits.hang_timeout_s:
                raise RuntimeError(
                    f"a forward pass of model {predictor.spec.name!r} has not come back for "
                    f"{self.limits.hang_timeout_s:g} s"
                )

    @contextmanager
    def _counted(
        self, served: Served, images: int, ticket: Ticket
    ) -> Iterator[list[Labelled | DecodeError]]:
        """Hold room for `images`, and count the results that the caller adds to the list."""
        model = served.predictor.spec.name
        try:
            self.admission.grow(ticket, images, served.predictor.per_image_s)
        except OverloadedError:
            self.metrics.count_images(model, "rejected", images)
            raise
        found: list[Labelled | DecodeError] = []
        started = time.monotonic()
        try:
            with served.predictor.hold():
                yield found
        except BaseException as exc:
            dropped = isinstance(exc, asyncio.CancelledError)  # the caller left, or its time is up
            self.metrics.count_images(model, "dropped" if dropped else "failed", images)
            self.statistics.record_failure(served.name, served.version, time.monotonic() - started)
            raise
        for one in found:
            self.metrics.count_images(model, one.kind if isinstance(one, DecodeError) else "ok")
        self._record(served, [one for one in found if isinstance(one, Labelled)], started)

    def _record(self, served: Served, found: list[Labelled], started: float) -> None:
        seconds = time.monotonic() - started
        if not found:
            self.statistics.record_failure(served.name, served.version, seconds)
            return
        forward_s = max(one.output.forward_s for one in found)
        took_s = {
            "success": seconds,
            "queue": max(one.output.queue_s for one in found),
            "compute_input": max(one.decode_s for one in found),
            "compute_infer": forward_s,
        }
        version, images, now_s = served.version, len(found), time.time()
        # like an ensemble: a request for the image variant counts for the model behind it, too
        for name in {served.predictor.spec.name, served.name}:
            self.statistics.record_success(name, version, images, took_s, now_s)
        if served.encoded:
            self.statistics.record_execution(served.name, version, images, forward_s)


async def _label_image(served: Served, image: bytes, sent_bytes: int) -> Labelled | DecodeError:
    try:
        prepared, decode_s = await served.predictor.preprocess(image, sent_bytes)
    except DecodeError as exc:
        return exc
    return Labelled(await served.predictor.predict(prepared.pixels), prepared, decode_s)


async def _all(coroutines: Sequence[Coroutine[Any, Any, _Found]]) -> list[_Found]:
    """Run them side by side; on a failure or a cancellation none is left running."""
    if len(coroutines) == 1:
        return [await coroutines[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in coroutines]
    except BaseExceptionGroup as exc:
        raise exc.exceptions[0] from None
    return [task.result() for task in tasks]
