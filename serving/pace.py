"""How fast a model is going: when it will be free again, and what a queue in front of it means."""

_SMOOTHING = 0.2  # of the newest pass in the moving averages


class Pace:
    """Moving averages of one model's forward passes; times are `time.monotonic()`'s, seconds."""

    def __init__(self) -> None:
        self._seconds_by_size: dict[int, float] = {}
        self._per_image_s = 0.0
        self._free_at = 0.0

    @property
    def per_image_s(self) -> float:
        """Return what an image has cost of late; 0 before the first pass."""
        return self._per_image_s

    def begin(self, size: int, now: float) -> None:
        """Note that a pass of `size` images begins."""
        self._free_at = now + self._seconds_by_size.get(size, size * self._per_image_s)

    def end(self, size: int, seconds: float, now: float) -> None:
        """Note that it has ended."""
        self._free_at = now
        before = self._seconds_by_size.get(size, seconds)
        self._seconds_by_size[size] = before + _SMOOTHING * (seconds - before)
        before = self._per_image_s or seconds / size
        self._per_image_s = before + _SMOOTHING * (seconds / size - before)

    def busy_s(self, now: float) -> float:
        """Return how much longer the pass that runs now will take; 0 if none does."""
        return max(0.0, self._free_at - now)
