"""Prometheus metrics beside Serve's own: sums and histograms, which add up over replicas."""

from functools import partial

from ray.serve.metrics import Counter, Histogram

_SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30]
_SIZES: list[float] = [1, 2, 4, 8, 16, 32, 64, 128, 256]


class Metrics:
    """The metrics of one replica."""

    def __init__(self) -> None:
        self._requests = Counter(
            "labelmill_requests_total",
            description="Requests by protocol and by the HTTP status of their outcome.",
            tag_keys=("protocol", "status"),  # type: ignore[arg-type]
        )
        self._images = Counter(
            "labelmill_images_total",
            description="Images by outcome: ok, a kind of error, rejected, failed or dropped.",
            tag_keys=("model", "outcome"),  # type: ignore[arg-type]
        )
        histogram = partial(Histogram, tag_keys=("model",))
        self._batch_size = histogram("labelmill_batch_size", "Images in one forward pass.", _SIZES)
        self._decode = histogram("labelmill_decode_seconds", "Decoding one image.", _SECONDS)
        self._queue = histogram(
            "labelmill_queue_seconds", "Wait of a decoded image for its forward pass.", _SECONDS
        )
        self._forward = histogram("labelmill_forward_seconds", "One forward pass.", _SECONDS)

    def count_request(self, protocol: str, status: int) -> None:
        """Count one request, answered or refused."""
        self._requests.inc(tags={"protocol": protocol, "status": str(status)})

    def count_images(self, model: str, outcome: str, images: int = 1) -> None:
        """Count images with the same outcome."""
        if images:
            self._images.inc(images, tags={"model": model, "outcome": outcome})

    def observe_decode(self, model: str, seconds: float) -> None:
        """Record the decoding of one image."""
        self._decode.observe(seconds, tags={"model": model})

    def observe_batch(self, model: str, queue_s: list[float], forward_s: float) -> None:
        """Record one forward pass, and how long each of its images had waited."""
        tags = {"model": model}
        self._batch_size.observe(len(queue_s), tags=tags)
        self._forward.observe(forward_s, tags=tags)
        for seconds in queue_s:
            self._queue.observe(seconds, tags=tags)
