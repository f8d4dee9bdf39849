"""Attempts, counted in the output: a worker that dies cannot tell anybody else.

A mark holds how often something was begun in one run and has not ended since. It lies in the
storage, because the next attempt may be on another node, or of another run.
"""

from dataclasses import dataclass

from jobs.dataset.layout import Layout
from jobs.errors import FetchError, JobError
from jobs.storage import Storage

MAX_ATTEMPTS = 10

_LISTING = "listing"


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts of one run at the chunks, the model and the listing of one output."""

    layout: Layout
    run_id: str

    def begin_chunk(self, chunk_id: str) -> bool:
        """Count an attempt at a chunk; say whether an earlier one did not end.

        That one may have been killed by an image, or with its node: read with care, blame nobody.

        Raises:
            JobError: no attempt ever ends.
        """
        found = f"chunk {chunk_id} was begun {MAX_ATTEMPTS} times and its worker died each time"
        return self._begin(chunk_id, found)

    def begin_loading(self, worker_id: str) -> None:
        """Count an attempt of a worker to load the model.

        Raises:
            JobError: none ever ends.
        """
        found = f"a worker died {MAX_ATTEMPTS} times as it loaded the model"
        self._begin(_of_worker(worker_id), found)

    def begin_listing(self) -> None:
        """Count an attempt to list the input.

        Raises:
            JobError: the worker that lists dies again and again.
        """
        self._begin(_LISTING, f"the worker that lists the input died {MAX_ATTEMPTS} times")

    def end_chunk(self, chunk_id: str) -> None:
        """Forget the attempts at a chunk that has its rows."""
        self._end(chunk_id)

    def end_loading(self, worker_id: str) -> None:
        """Forget the attempts of a worker that has the model."""
        self._end(_of_worker(worker_id))

    def end_listing(self) -> None:
        """Forget the attempts to list an input that is listed."""
        self._end(_LISTING)

    def _begin(self, name: str, found: str) -> bool:
        storage, mark = Storage(), self.layout.attempt(name)
        last = _read_if_there(storage, mark)
        # Another run's are not counted: the cause may have gone.
        begun = int(last.partition(" ")[2]) if last.startswith(self.run_id) else 0
        if begun >= MAX_ATTEMPTS:
            raise JobError(
                f"{found}, most likely out of memory; run the same command with fewer --actors or "
                "a smaller --batch-size (-v shows what Ray says)"
            )
        storage.write(mark, f"{self.run_id} {begun + 1}".encode())
        return last != ""

    def _end(self, name: str) -> None:
        Storage().delete([self.layout.attempt(name)])


def _of_worker(worker_id: str) -> str:
    return f"worker-{worker_id}"


def _read_if_there(storage: Storage, uri: str) -> str:
    try:
        return storage.read(uri).data.decode()
    except FetchError as exc:
        if exc.kind == "not_found":
            return ""
        raise
