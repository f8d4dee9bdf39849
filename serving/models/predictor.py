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
from serving.config import UserConfig
from serving.models.batching import Gate, Pace
from serving.models.decode_limits import pixel_limit
from serving.telemetry.metrics import Metrics
from serving.telemetry.statistics import Statistics

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """What the network says of one image, and what that took.

    Attributes:
        logits: float32 [classes].
        embedding: float32 [2048].
        queue_s: from being handed over until the forward pass began.
        forward_s: of the batch that the image was in.
        batch_size: of that batch.
    """

    logits: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    queue_s: float
    forward_s: float
    batch_size: int


@dataclass(slots=True, eq=False)
class _Item:
    pixels: Pixels
    entered: float
    begun: bool = False


class Decoders(ThreadPoolExecutor):
    """The threads that all models of a process decode on."""

    def __init__(self, count: int) -> None:
        super().__init__(count, "decode")
        self.count = count


class Predictor:
    """A classifier that many requests share.

    Attributes:
        spec: what the model predicts, and how.
        weights_sha256: what identifies its weights.

    Args:
        classifier: with `embedding` among its outputs.
        batch_wait_timeout_s: what the model's config.pbtxt says.
        decoders: shared with the other models of the process.
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
        self._forward_pace, self._decode_pace = Pace(), Pace()
        self._gate = Gate(self.spec.max_batch_size)
        self._began: float | None = None
        self._users = 0
        self._closing = False
        self._max_pixels = 0
        self._warm_up()
        self._enqueue: Any = self._build_queue()

    @property
    def precision(self) -> str:
        """Return what the network runs in."""
        return self._classifier.options.precision

    @property
    def per_image_s(self) -> float:
        """Return how long an image has kept the others waiting of late."""
        return max(self._forward_pace.per_image_s, self._decode_pace.per_image_s)

    def reconfigure(self, config: UserConfig) -> None:
        """Take over what can change while the model runs."""
        self._max_pixels = config.max_pixels
        wait_s = config.batch_wait_timeout_s
        self._enqueue.set_batch_wait_timeout_s(self._own_wait_s if wait_s is None else wait_s)
        self._gate.max_batch_size = config.max_batch_size or self.spec.max_batch_size
        self._enqueue.set_max_batch_size(self._gate.max_batch_size)

    def busy_since(self) -> float | None:
        """Return when the forward pass that runs now began, by `time.monotonic()`."""
        return self._began

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the network, though closed meanwhile, while a request uses it."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._let_go()

    def close(self) -> None:
        """Let go of the network once no request uses it any more; there will be no new ones."""
        self._closing = True
        self._let_go()

    def _let_go(self) -> None:
        if self._closing and not self._users:
            # Serve's batching task, which has no end, would keep it.
            self._forward_thread.submit(self.__dict__.pop, "_classifier", None)
            self._forward_thread.shutdown(wait=False)

    async def preprocess(self, image: bytes, sent_bytes: int) -> tuple[Preprocessed, float]:
        """Decode one image, not on the event loop; return it and the seconds that took.

        Args:
            image: encoded.
            sent_bytes: of the body that it was in; the less came, the fewer pixels it may have.

        Raises:
            DecodeError: it cannot be labelled.
        """
        loop = asyncio.get_running_loop()
        decoded, seconds = await loop.run_in_executor(
            self._decoders, self._decode, image, sent_bytes
        )
        self._metrics.observe_decode(self.spec.name, seconds)
        self._decode_pace.note(self._decoders.count, seconds)
        return decoded, seconds

    async def predict(self, pixels: Pixels) -> Output:
        """Run the network on uint8 [3, crop, crop], in a batch with whatever else waits.

        Who stops waiting before that batch begins costs no forward pass.
        """
        item = _Item(pixels, time.monotonic())
        await self._gate.enter()
        try:
            # In a context of its own: in that of a request Serve finds a header that any client can
            # send, and makes batches only of those who sent the same.
            output: Output = await asyncio.create_task(self._enqueue(item), context=Context())
        finally:
            if not item.begun:
                self._gate.leave(1)
        return output

    def _build_queue(self) -> Any:
        async def run_batch(items: list[_Item]) -> list[Output]:
            return await self._run_batch(items)

        # Serve asks for it with every image, and finding it out takes a twentieth of a request.
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
        began = time.monotonic()
        self._began = began
        self._gate.begin(len(items))
        for item in items:
            item.begun = True
        loop = asyncio.get_running_loop()
        try:
            outputs, seconds = await loop.run_in_executor(
                self._forward_thread, self._forward, [item.pixels for item in items]
            )
        finally:
            self._began = None
            self._gate.end()
        self._forward_pace.note(len(items), seconds)
        waits = [began - item.entered for item in items]
        spec = self.spec
        self._metrics.observe_batch(spec.name, waits, seconds)
        self._statistics.record_execution(spec.name, spec.version, len(items), seconds)
        return [
            Output(logits, embedding, wait, seconds, len(items))
            for (logits, embedding), wait in zip(outputs, waits, strict=True)
        ]

    def _forward(
        self, pixels: list[Pixels]
    ) -> tuple[list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]], float]:
        started = time.perf_counter()
        outputs = self._classifier.predict(np.stack(pixels))
        assert outputs.embedding is not None
        pairs = list(zip(outputs.logits, outputs.embedding, strict=True))
        return pairs, time.perf_counter() - started

    def _warm_up(self) -> None:
        # Or the first image would be slow, and its pace have others refused.
        warm_up(self.spec)
        crop = self.spec.crop_size
        sizes = self._classifier.options.first_sizes(self.spec.max_batch_size)
        for size in (*sizes, 1):
            _, seconds = self._forward([np.zeros((3, crop, crop), np.uint8)] * size)
        self._forward_pace.note(1, seconds)
