"""Reading images in a child process, so that one that kills it costs only its own row.

For chunks whose earlier attempt did not end. Slower than `read_images` by the start of a process;
once one has died, images are read one at a time to find the killer.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import pyarrow as pa

from jobs.dataset.schema import Row
from jobs.errors import JobError
from jobs.job.inference import InferenceSpec
from jobs.labelling.decode import Image, read_images
from model_repo.inception_v3.preprocess import warm_up

MAX_DEATHS = 3

_SUSPECTS = 80  # more than `read_images` has fetched and decoded ahead of what it yields
_PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>


class ChildDeathError(Exception):
    """The child died; the message says of what."""


def read_isolated(objects: pa.Table, inference: InferenceSpec) -> Iterator[Image]:
    """Do what `read_images` does; an image that kills its process becomes an error row, too.

    Raises:
        JobError: no child can be started, or what `read_images` raises.
    """
    position = deaths = suspects = 0
    child = _start_child(objects, inference)
    try:
        while position < objects.num_rows:
            count = 1 if suspects else objects.num_rows - position
            try:
                for image in child.read(position, count):
                    yield image
                    position, deaths, suspects = position + 1, 0, max(suspects - 1, 0)
            except ChildDeathError as exc:
                child.close()
                # Where many were read ahead, nobody knows which one did it.
                deaths += 1 if suspects else 0
                suspects = _SUSPECTS
                if deaths == MAX_DEATHS:
                    yield _crashed(position, objects, str(exc))
                    position, deaths = position + 1, 0
                child = _start_child(objects, inference)
    finally:
        child.close()


class _Child:
    """A process that reads images of one chunk when it is asked to."""

    def __init__(self, objects: pa.Table, inference: InferenceSpec) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, objects, inference, os.getpid()), daemon=True
        )
        self._process.start()
        theirs.close()

    def read(self, start: int, count: int) -> Iterator[Image]:
        """Read `count` objects from the `start`-th on.

        Raises:
            ChildDeathError: the child died.
        """
        with suppress(OSError):  # if it has died, `receive` says so
            self._connection.send((start, count))
        for _ in range(count):
            yield self.receive()

    def close(self) -> None:
        """End the child, whatever it does."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def receive(self) -> Any:
        """Return its next answer.

        Raises:
            ChildDeathError: the child died.
        """
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as exc:
            self._process.join()
            code = self._process.exitcode or 0
            cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise ChildDeathError(cause) from exc
        if isinstance(answer, JobError):  # no image is to blame
            raise answer
        return answer


def _start_child(objects: pa.Table, inference: InferenceSpec) -> _Child:
    for _ in range(MAX_DEATHS):
        child = _Child(objects, inference)
        try:
            child.receive()  # it can decode
            return child
        except ChildDeathError as exc:
            child.close()
            cause = str(exc)
    raise JobError(
        f"a process to decode in died {MAX_DEATHS} times as it started ({cause}); where memory is "
        "short, run the same command with fewer --actors (-v shows what it wrote)"
    )


def _serve(
    connection: Connection, objects: pa.Table, inference: InferenceSpec, parent_id: int
) -> None:
    """Answer requests of `_Child` for as long as the parent lives."""
    die_with(parent_id)
    warm_up(inference.model)  # where this fails, no image is to blame
    connection.send(None)
    while True:
        start, count = connection.recv()
        try:
            for image in read_images(objects.slice(start, count), inference):
                row = replace(image.row, index=start + image.row.index)
                connection.send(Image(row, image.pixels))
        except JobError as exc:
            connection.send(exc)
        except Exception as exc:  # something that this machine lacks, or a bug of ours; no death
            connection.send(JobError(f"cannot decode: {type(exc).__name__}: {exc}"))


def die_with(parent_id: int) -> None:
    """Have this process end when its parent does, and not before."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent deals with it
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_id:  # it has died before that was set
        os._exit(1)


def _crashed(index: int, objects: pa.Table, cause: str) -> Image:
    message = f"the process that decoded it died {MAX_DEATHS} times ({cause})"
    if cause == "SIGKILL":
        message += ", most likely out of memory; use fewer --actors or a lower --max-pixels"
    else:
        message += "; the image crashes the decoder: save it again with another program"
    etag = objects.column("etag")[index].as_py()
    return Image(Row(index=index, etag=etag, error_kind="crashed", error=message), None)
