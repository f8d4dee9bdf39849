"""One network on one device, which threads share so that the device is never idle.

    pixels → pinned memory → device → padded batch → network → outputs → pinned memory → arrays

A caller fills batches or makes rows on some threads while the batch of another is computed. The
memory for all of it comes from torch's own caches, which hand a block out again only when both the
device and whoever held it have done with it: nothing that a call has returned changes later.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Step = Callable[[Tensor], tuple[Tensor, ...]]

# One is computed, one is ready to be, and one comes or goes.
_IN_FLIGHT = 3
# In the first pass cuDNN tries its kernels, in the second all that is made lazily has been made.
_WARM_UP_PASSES = 2


class DeviceRunner:
    """Runs a network for any number of threads; on a CPU by the same steps, one after another.

    Args:
        step: the network, from uint8 [N, 3, H, W], channels last, to one float32 [N, ...] per name.
        names: of what `step` returns.
        device: where its weights lie.
        pad: the size that a batch is filled up to, so that there are few; None leaves it.
        capture: record a CUDA graph for each size when it first occurs.
    """

    def __init__(
        self,
        step: Step,
        names: Sequence[str],
        device: torch.device,
        *,
        pad: Callable[[int], int] | None = None,
        capture: bool = False,
    ) -> None:
        self._step, self._names, self._device = step, names, device
        self._pad, self._capture = pad, capture
        self._is_cuda = device.type == "cuda"
        self._module: Any = torch.get_device_module(device)  # torch.cuda, or its like for CPUs
        self._in, self._compute, self._out = (self._module.Stream() for _ in range(3))
        self._in_flight = threading.BoundedSemaphore(_IN_FLIGHT)
        self._lock = threading.Lock()
        self._graphs: dict[int, Graph] = {}
        self._pool = torch.cuda.graph_pool_handle() if capture else None

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
        """Run the network on uint8 [N, 3, H, W], N ≥ 1, which may be read-only or strided."""
        with self._in_flight, torch.inference_mode():
            sent, is_there = self._send(pixels)
            with self._lock, self._module.stream(self._compute):
                is_there.wait(self._compute)
                outputs = self._run(sent)
                is_computed = self._record(self._compute)
            arrays = self._fetch(outputs, len(pixels), is_computed)
        return dict(zip(self._names, arrays, strict=True))

    def free_memory(self) -> None:
        """Give the device what torch keeps for later."""
        with self._lock:  # not in the middle of a capture
            torch.cuda.empty_cache()

    def _send(self, pixels: npt.NDArray[np.uint8]) -> tuple[Tensor, torch.Event]:
        host = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=self._is_cuda)
        np.copyto(host.numpy(), pixels)
        with self._module.stream(self._in):
            sent = host.to(self._device, non_blocking=True)
        return sent, self._record(self._in)

    def _run(self, pixels: Tensor) -> tuple[Tensor, ...]:
        count = len(pixels)
        shape = (self._pad(count) if self._pad else count, *pixels.shape[1:])
        if not self._capture:
            return self._step(_fill(_empty_batch(shape, self._device), pixels))
        if shape[0] not in self._graphs:
            batch = _empty_batch(shape, self._device).zero_()
            self._graphs[shape[0]] = Graph(self._step, batch, self._compute, self._pool)
        graph = self._graphs[shape[0]]
        _fill(graph.batch, pixels)
        return graph.replay()

    def _fetch(
        self, outputs: tuple[Tensor, ...], count: int, is_computed: torch.Event
    ) -> list[npt.NDArray[np.float32]]:
        with self._module.stream(self._out):
            is_computed.wait(self._out)
            fetched = [output[:count].to("cpu", non_blocking=True) for output in outputs]
            self._record(self._out).synchronize()
        return [tensor.numpy() for tensor in fetched]

    def _record(self, stream: torch.Stream) -> torch.Event:
        """Return an event that happens when the stream has done what it was given so far."""
        # Blocking, or a thread that waits for it would keep a core busy.
        event: torch.Event = self._module.Event(**({"blocking": True} if self._is_cuda else {}))
        event.record(stream)
        return event


class Graph:
    """The network for one size of batch, launched as one CUDA graph rather than kernel by kernel.

    Attributes:
        batch: uint8 [N, 3, H, W] on the device; `replay` computes what it holds by then.

    Args:
        step: the network.
        batch: as above.
        stream: the current one.
        pool: memory that graphs share which never run at the same time.
    """

    def __init__(self, step: Step, batch: Tensor, stream: torch.cuda.Stream, pool: Any) -> None:
        self.batch = batch
        for _ in range(_WARM_UP_PASSES):
            step(self.batch)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads copy meanwhile, which the default mode would take for a mistake.
        with torch.cuda.graph(
            self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"
        ):
            self._outputs = step(self.batch)

    def replay(self) -> tuple[Tensor, ...]:
        """Compute `batch`, on the current stream; the result is the caller's."""
        self._graph.replay()
        # Copies: the next replay, also of another size since all share one pool, overwrites these.
        return tuple(output.clone() for output in self._outputs)


def _empty_batch(shape: Sequence[int], device: torch.device) -> Tensor:
    return torch.empty(
        tuple(shape), dtype=torch.uint8, device=device, memory_format=torch.channels_last
    )


def _fill(batch: Tensor, pixels: Tensor) -> Tensor:
    """Put `pixels` first into `batch`; what is behind them is computed, and thrown away."""
    batch[: len(pixels)].copy_(pixels)
    return batch
