"""One network on one device, shared by threads so that the device is never idle.

    pixels → pinned memory → device → padded batch → network → outputs → pinned memory → arrays

Some threads fill batches or make rows while the device computes the batch of another. All memory
comes from torch's own caches, which reuse a block only when both the device and its last owner are
done with it, so what a call has returned never changes.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_repo.inception_v3.spec import Floats, Pixels

Step = Callable[[Tensor], tuple[Tensor, ...]]

# One is being computed, one is ready, and one is being copied in or out.
_IN_FLIGHT = 3
# In the first pass cuDNN tries its kernels; by the second, all lazy set-up is done.
_WARM_UP_PASSES = 2


class DeviceRunner:
    """Runs a network for any number of threads; on a CPU with the same steps, one after another.

    Args:
        step: the network, from uint8 [N, 3, H, W], channels last, to one float32 [N, ...] per name.
        names: of the outputs of `step`.
        device: where its weights are.
        pad: gives the size to pad a batch to, so that there are few sizes; None never pads.
        capture: record a CUDA graph for each new size.
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

    def __call__(self, pixels: Pixels) -> dict[str, Floats]:
        """Run the network on uint8 [N, 3, H, W], N ≥ 1; it may be read-only or strided."""
        with self._in_flight, torch.inference_mode():
            sent, is_there = self._send(pixels)
            with self._lock, self._module.stream(self._compute):
                is_there.wait(self._compute)
                outputs = self._run(sent)
                is_computed = self._record(self._compute)
            arrays = self._fetch(outputs, len(pixels), is_computed)
        return dict(zip(self._names, arrays, strict=True))

    def free_memory(self) -> None:
        """Release the device memory that torch has cached."""
        with self._lock:  # not during a capture
            torch.cuda.empty_cache()

    def _send(self, pixels: Pixels) -> tuple[Tensor, torch.Event]:
        host = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=self._is_cuda)
        np.copyto(host.numpy(), pixels)
        with self._module.stream(self._in):
            sent = host.to(self._device, non_blocking=True)
        return sent, self._record(self._in)

    def _run(self, pixels: Tensor) -> tuple[Tensor, ...]:
        count = len(pixels)
        size = self._pad(count) if self._pad else count
        graph = self._graphs.get(size)
        batch = graph.batch if graph else _empty_batch((size, *pixels.shape[1:]), self._device)
        if self._capture and not graph:
            graph = Graph(self._step, batch.zero_(), self._compute, self._pool)
            self._graphs[size] = graph
        batch[:count].copy_(pixels)  # the rest is computed and thrown away
        return graph.replay() if graph else self._step(batch)

    def _fetch(
        self, outputs: tuple[Tensor, ...], count: int, is_computed: torch.Event
    ) -> list[Floats]:
        with self._module.stream(self._out):
            is_computed.wait(self._out)
            fetched = [output[:count].to("cpu", non_blocking=True) for output in outputs]
            self._record(self._out).synchronize()
        return [tensor.numpy() for tensor in fetched]

    def _record(self, stream: torch.Stream) -> torch.Event:
        """Return an event that fires once the stream has done its work so far."""
        # Blocking, so that a waiting thread does not keep a core busy.
        event: torch.Event = self._module.Event(**({"blocking": True} if self._is_cuda else {}))
        event.record(stream)
        return event


class Graph:
    """The network for one batch size, launched as one CUDA graph rather than kernel by kernel.

    `replay` computes what `batch`, uint8 [N, 3, H, W] on the device, then holds. `stream` is the
    current one; graphs that never run at the same time share the memory of `pool`.
    """

    def __init__(self, step: Step, batch: Tensor, stream: torch.cuda.Stream, pool: Any) -> None:
        self.batch = batch
        for _ in range(_WARM_UP_PASSES):
            step(batch)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads copy meanwhile, which the default mode would treat as an error.
        with torch.cuda.graph(
            self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"
        ):
            self._outputs = step(batch)

    def replay(self) -> tuple[Tensor, ...]:
        """Compute `batch` on the current stream; the caller owns the result."""
        self._graph.replay()
        # Copies: the next replay overwrites these, even one of another size, as they share a pool.
        return tuple(output.clone() for output in self._outputs)


def _empty_batch(shape: tuple[int, ...], device: torch.device) -> Tensor:
    layout = torch.channels_last
    return torch.empty(shape, dtype=torch.uint8, device=device, memory_format=layout)
