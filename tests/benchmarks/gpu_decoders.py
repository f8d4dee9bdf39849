"""Decoding in processes of their own, into memory shared with the one that has the GPU.

So does a job: Ray's decode tasks put pixels into the object store, from where the actor takes them.
Where simplejpeg is missing, torchvision decodes JPEGs in its place, as fast (libjpeg-turbo, too).
"""

import io
import multiprocessing
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image

try:
    import simplejpeg  # noqa: F401

    DECODER = "simplejpeg"
except ModuleNotFoundError:
    DECODER = "torchvision"


def _stand_in_for_simplejpeg() -> types.ModuleType:
    from torchvision.io import decode_jpeg as decode  # noqa: PLC0415

    def decode_jpeg_header(data):
        width, height = Image.open(io.BytesIO(data)).size
        return height, width, "YCbCr", "420"

    def decode_jpeg(data, colorspace, min_height, min_width):
        with warnings.catch_warnings():  # from 0.29 on torchvision announces that it will go
            warnings.simplefilter("ignore")
            encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            return decode(encoded).permute(1, 2, 0).contiguous().numpy()

    module = types.ModuleType("simplejpeg")
    module.decode_jpeg_header, module.decode_jpeg = decode_jpeg_header, decode_jpeg
    return module


if DECODER == "torchvision":
    sys.modules["simplejpeg"] = _stand_in_for_simplejpeg()

from model_repo.inception_v3.preprocess import preprocess  # noqa: E402

DECODE_TIMEOUT_S = 120  # by then they have died, and said of what


class Decoders:
    """Processes that decode batches of photos, over and over, into slots of shared memory."""

    def __init__(self, free, full, slots: np.ndarray) -> None:
        self._free, self._full, self._slots = free, full, slots

    @contextmanager
    def batch(self) -> Iterator[np.ndarray]:
        """Lend the next batch, uint8 [N, 3, 299, 299]; its slot is filled again afterwards."""
        slot = self._full.get(timeout=DECODE_TIMEOUT_S)
        try:
            yield self._slots[slot]
        finally:
            self._free.put(slot)


@contextmanager
def running_decoders(
    photos: list[bytes], *, processes: int, batch_size: int, ahead: int
) -> Iterator[Decoders]:
    """Start decoders, each on its own slot, with `ahead` slots more."""
    context = multiprocessing.get_context("spawn")  # a fork of a process that has a GPU may hang
    count, shape = processes + ahead, (batch_size, 3, 299, 299)
    memory = context.RawArray("B", count * int(np.prod(shape)))
    free, full = context.SimpleQueue(), context.Queue()
    workers = [
        context.Process(target=_decode, args=(photos, number, memory, shape, free, full))
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    for slot in range(count):
        free.put(slot)
    try:
        yield Decoders(free, full, np.frombuffer(memory, np.uint8).reshape(count, *shape))
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _decode(photos, number, memory, shape, free, full) -> None:
    torch.set_num_threads(1)
    slots = np.frombuffer(memory, np.uint8).reshape(-1, *shape)
    while True:
        slot = free.get()
        for place in range(shape[0]):
            slots[slot, place] = preprocess(photos[number % len(photos)]).pixels
            number += 1
        full.put(slot)
