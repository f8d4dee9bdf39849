"""How long images take, and the gate that holds them back while the model is busy."""

import asyncio
from collections import deque

_SMOOTHING = 0.2  # of the newest pass in the moving average


def average_latency(before_s: float, size: int, seconds: float) -> float:
    """Return the moving average of one image's seconds, now that `size` images took `seconds`."""
    before_s = before_s or seconds / size
    return before_s + _SMOOTHING * (seconds / size - before_s)


class BatchGate:
    """Holds images back, in order, while the model is busy.

    Serve closes a batch when its time is up, even if the model is busy; a small closed batch then
    waits as it is. With this gate, images that arrive meanwhile share the next batch, and an idle
    model never waits for a batch to fill.
    """

    def __init__(self, max_batch_size: int) -> None:
        self.max_batch_size = max_batch_size
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._inside = 0
        self._busy = False

    async def enter(self) -> None:
        """Wait until the model is free and the next batch has room."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._let_in()
        try:
            await turn  # `_let_in` has counted it
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(1)
            raise

    def leave(self, images: int) -> None:
        """Give up the places of images that were let in but are not in a batch yet."""
        self._inside -= images
        self._let_in()

    def begin(self, images: int) -> None:
        """Close the gate: a forward pass of `images` begins."""
        self._busy = True
        self._inside -= images

    def end(self) -> None:
        """Open the gate: the forward pass has ended."""
        self._busy = False
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and not self._busy and self._inside < self.max_batch_size:
            turn = self._waiting.popleft()
            if not turn.done():
                self._inside += 1
                turn.set_result(None)
