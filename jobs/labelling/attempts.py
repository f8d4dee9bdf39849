"""Attempts, counted in the output: a worker that dies cannot tell anybody else.

A mark says how often something was begun in one run and has not ended since. It lies in the
storage, because the next attempt may be on another node, or belong to another run.
"""

from dataclasses import dataclass

from jobs.dataset.layout import Layout
from jobs.errors import FetchError, JobError
from jobs.storage import Storage

MAX_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts of one run at the chunks, the model and the listing of one output.

    What begins an attempt raises a JobError where none ever ends.
    """

    layout: Layout
    run_id: str

    def begin_chunk(self, chunk_id: str) -> bool:
        """Count an attempt at a chunk; say whether an earlier one did not end.

        An image may have killed that one, or its node died: read with care, blame nobody.
        """
        found = f"chunk {chunk_id} was begun {MAX_ATTEMPTS} times and its worker died each time"
        return self._begin(chunk_id, found)

    def begin_loading(self, worker_id: str) -> None:
        """Count a worker's attempt to load the model."""
        self._begin(worker_id, f"a worker died {MAX_ATTEMPTS} times as it loaded the model")

    def begin_listing(self) -> None:
        """Count an attempt to list the input."""
        self._begin("listing", f"the worker that lists the input died {MAX_ATTEMPTS} times")

    def end(self, name: str) -> None:
        """Forget the attempts at a chunk, those of a worker to load, or those at the `listing`."""
        Storage().delete([self.layout.attempt(name)])

    def _begin(self, name: str, found: str) -> bool:
        storage, mark = Storage(), self.layout.attempt(name)
        try:
            last = storage.read(mark).data.decode()
        except FetchError as exc:
            if exc.kind != "not_found":
                raise
            last = ""
        # Another run's attempts are not counted: the cause may have gone.
        begun = int(last.partition(" ")[2]) if last.startswith(self.run_id) else 0
        if begun >= MAX_ATTEMPTS:
            raise JobError(
                f"{found}, most likely out of memory; run the same command with fewer --actors or "
                "a smaller --batch-size (-v shows what Ray says)"
            )
        storage.write(mark, f"{self.run_id} {begun + 1}".encode())
        return last != ""
