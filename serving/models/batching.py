"""How fast a model goes, and what holds images back until it is free."""

import asyncio
from collections import deque

_SMOOTHING = 0.2  # of the newest pass in the moving average


class LatencyAverage:
    """A moving average of what one image costs, seconds."""

    def __init__(self) -> None:
        self.per_image_s = 0.0

    def note(self, size: int, seconds: float) -> None:
        """Note a forward pass of `size` images."""
        before = self.per_image_s or seconds / size
        self.per_image_s = before + _SMOOTHING * (seconds / size - before)


class BatchGate:
    """Holds images back while the model is busy, in their order.

    Serve closes a batch once its time is over, busy or not; a closed one then waits, however small
    it is. Behind this gate whoever comes meanwhile goes into the next batch, and the model never
    waits for one to fill.
    """

    def __init__(self, max_batch_size: int) -> None:
        self.max_batch_size = max_batch_size
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._inside = 0
        self._busy = False

    async def enter(self) -> None:
        """Wait until the model is free and the batch that it takes next has room."""
        if self._waiting or not self._has_room():
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn  # who lets it in has counted it
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.leave(1)
                raise
            return
        self._inside += 1

    def leave(self, images: int) -> None:
        """Give up the place in the batch that is being made, for images that were let in."""
        self._inside -= images
        self._let_in()

    def begin(self, images: int) -> None:
        """Close: a pass of so many of those inside begins."""
        self._busy = True
        self._inside -= images

    def end(self) -> None:
        """Open: the pass has ended."""
        self._busy = False
        self._let_in()

    def _has_room(self) -> bool:
        return not self._busy and self._inside < self.max_batch_size

    def _let_in(self) -> None:
        while self._waiting and self._has_room():
            turn = self._waiting.popleft()
            if not turn.done():
                self._inside += 1
                turn.set_result(None)
