"""One loaded model: decode on threads → batch by Ray Serve → forward pass on its own thread."""

import asyncio
import inspect
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ray import serve

from model_repo.inception_v3 import Classifier, DecodeError
from model_repo.inception_v3.preprocess import Preprocessed, preprocess, warm_up
from model_repo.inception_v3.spec import Pixels
from serving.config import UserConfig
from serving.models.batching import BatchGate, average_latency
from serving.models.decode_limits import pixel_limit
from serving.telemetry.metrics import Metrics
from serving.telemetry.statistics import Statistics

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """The network's output for one image, and how long it took."""

    logits: _Floats  # [classes]
    embedding: _Floats  # [2048]
    queue_s: float  # from `predict` until the forward pass began
    forward_s: float  # of the image's batch
    batch_size: int


@dataclass(slots=True, eq=False)
class _Item:
    pixels: Pixels
    entered: float
    begun: bool = False


class Decoders(ThreadPoolExecutor):
    """The threads on which all models of a process decode."""

    def __init__(self, count: int) -> None:
        super().__init__(count, "decode")
        self.count = count


class Predictor:
    """A classifier with `embedding` among its outputs, shared by many requests.

    Attributes:
        busy_since: when the current forward pass began, by `time.monotonic()`, if there is one.
    """

    def __init__(
        self,
        classifier: Classifier,
        batch_wait_timeout_s: float,
        decoders: Decoders,
        metrics: Metrics,
        statistics: Statistics,
    ) -> None:
        self._classifier = classifier
        self.spec = classifier.spec
        self.weights_sha256 = classifier.weights_sha256
        self._own_wait_s = batch_wait_timeout_s
        self._decoders = decoders
        self._metrics = metrics
        self._statistics = statistics
        self._forward_thread = ThreadPoolExecutor(1, "forward")
        self._forward_s = self._decode_s = 0.0  # of one image, lately
        self._gate = BatchGate(self.spec.max_batch_size)
        self.busy_since: float | None = None
        self._users = 0
        self._closing = False
        self._max_pixels = 0
        self._warm_up()
        self._enqueue: Any = self._build_queue()

    @property
    def per_image_s(self) -> float:
        """Return how many seconds one image has held up the others recently."""
        return max(self._forward_s, self._decode_s)

    def reconfigure(self, config: UserConfig) -> None:
        """Apply what can change while the model runs."""
        self._max_pixels = config.max_pixels
        wait_s = config.batch_wait_timeout_s
        self._enqueue.set_batch_wait_timeout_s(self._own_wait_s if wait_s is None else wait_s)
        self._gate.max_batch_size = config.max_batch_size or self.spec.max_batch_size
        self._enqueue.set_max_batch_size(self._gate.max_batch_size)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the network while a request uses it, even if it is closed meanwhile."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._free_if_unused()

    def close(self) -> None:
        """Free the network once no request uses it; no new ones will come."""
        self._closing = True
        self._free_if_unused()

    def _free_if_unused(self) -> None:
        if self._closing and not self._users:
            # Serve's batching task never ends and would keep a reference.
            self._forward_thread.submit(self.__dict__.pop, "_classifier", None)
            self._forward_thread.shutdown(wait=False)

    async def preprocess(self, image: bytes, sent_bytes: int) -> tuple[Preprocessed, float]:
        """Decode one image off the event loop; return it and the seconds it took.

        The fewer `sent_bytes` its request had, the fewer pixels are allowed.

        Raises:
            DecodeError: it cannot be labelled.
        """
        decoding = self._decoders.submit(self._decode, image, sent_bytes)
        decoded, seconds = await asyncio.wrap_future(decoding)
        self._metrics.observe_decode(self.spec.name, seconds)
        self._decode_s = average_latency(self._decode_s, self._decoders.count, seconds)
        return decoded, seconds

    async def predict(self, pixels: Pixels) -> Output:
        """Run the network on uint8 [3, crop, crop], in a batch with other waiting images.

        A caller that leaves before the batch begins costs no forward pass.
        """
        item = _Item(pixels, time.monotonic())
        await self._gate.enter()
        try:
            # In a new context: from a request's own, Serve reads a header that any client can send,
            # and batches only requests that agree in it.
            output: Output = await asyncio.create_task(self._enqueue(item), context=Context())
        finally:
            if not item.begun:
                self._gate.leave(1)
        return output

    def _build_queue(self) -> Any:
        async def run_batch(items: list[_Item]) -> list[Output]:
            return await self._run_batch(items)

        # Serve asks for it with every image, and computing it takes 5 % of a request.
        run_batch.__signature__ = inspect.signature(run_batch)  # type: ignore[attr-defined]
        batch = serve.batch(max_batch_size=self.spec.max_batch_size, batch_wait_timeout_s=0.0)
        return batch(run_batch)

    def _decode(self, image: bytes, sent_bytes: int) -> tuple[Preprocessed, float]:
        started = time.perf_counter()
        limit = pixel_limit(image, self._max_pixels, sent_bytes)
        try:
            decoded = preprocess(image, self.spec, max_pixels=limit)
        except DecodeError as exc:
            if exc.kind == "too_large" and limit < self._max_pixels:
                raise DecodeError("too_large", f"{exc} for a file of its size") from exc
            raise
        return decoded, time.perf_counter() - started

    async def _run_batch(self, items: list[_Item]) -> list[Output]:
        self.busy_since = began = time.monotonic()
        self._gate.begin(len(items))
        for item in items:
            item.begun = True
        pixels = [item.pixels for item in items]
        try:
            passing = self._forward_thread.submit(self._forward, pixels)
            outputs, seconds = await asyncio.wrap_future(passing)
        finally:
            self.busy_since = None
            self._gate.end()
        self._forward_s = average_latency(self._forward_s, len(items), seconds)
        waits = [began - item.entered for item in items]
        name, version = self.spec.name, self.spec.version
        self._metrics.observe_batch(name, waits, seconds)
        self._statistics.record_execution(name, version, len(items), seconds)
        return [
            Output(logits, embedding, wait, seconds, len(items))
            for (logits, embedding), wait in zip(outputs, waits, strict=True)
        ]

    def _forward(self, pixels: list[Pixels]) -> tuple[list[tuple[_Floats, _Floats]], float]:
        started = time.perf_counter()
        outputs = self._classifier.predict(np.stack(pixels))
        assert outputs.embedding is not None
        pairs = list(zip(outputs.logits, outputs.embedding, strict=True))
        return pairs, time.perf_counter() - started

    def _warm_up(self) -> None:
        # Otherwise the first image would be slow, and its latency would get others refused.
        warm_up(self.spec)
        crop = self.spec.crop_size
        sizes = self._classifier.options.first_sizes(self.spec.max_batch_size)
        for size in (*sizes, 1):
            _, seconds = self._forward([np.zeros((3, crop, crop), np.uint8)] * size)
        self._forward_s = seconds
