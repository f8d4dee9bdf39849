"""Attempts, counted in the output: a worker that dies can tell nobody else.

A mark holds how often something was begun in one run that has not ended since. It lies in the
storage, because the next attempt may be on another node, or of another run.
"""

from jobs.errors import FetchError, JobError
from jobs.job.job import Plan
from jobs.storage import Storage

MAX_ATTEMPTS = 10


def begin_chunk(chunk_id: str, plan: Plan) -> bool:
    """Count an attempt at a chunk; say whether an earlier one did not end.

    That one may have been killed by an image, or with its node: care is due, blame is not.

    Raises:
        JobError: no attempt ever ends.
    """
    found = f"chunk {chunk_id} was begun {MAX_ATTEMPTS} times and its worker died each time"
    return _begin(chunk_id, found, plan)


def begin_loading(worker_id: str, plan: Plan) -> None:
    """Count an attempt of a worker to load the model.

    Raises:
        JobError: none ever ends.
    """
    found = f"a worker died {MAX_ATTEMPTS} times as it loaded the model"
    _begin(f"worker-{worker_id}", found, plan)


def begin_listing(plan: Plan) -> None:
    """Count an attempt to list the input.

    Raises:
        JobError: the worker that lists dies again and again.
    """
    _begin("listing", f"the worker that lists the input died {MAX_ATTEMPTS} times", plan)


def end_listing(plan: Plan) -> None:
    """Forget the attempts to list an input that is listed."""
    Storage().delete([plan.layout.attempt("listing")])


def end_chunk(chunk_id: str, plan: Plan) -> None:
    """Forget the attempts at a chunk that has its rows."""
    Storage().delete([plan.layout.attempt(chunk_id)])


def end_loading(worker_id: str, plan: Plan) -> None:
    """Forget the attempts of a worker that has the model."""
    Storage().delete([plan.layout.attempt(f"worker-{worker_id}")])


def _begin(name: str, found: str, plan: Plan) -> bool:
    storage, mark = Storage(), plan.layout.attempt(name)
    last = _read_if_there(storage, mark)
    # Another run's are not counted: the cause may have gone.
    begun = int(last.partition(" ")[2]) if last.startswith(plan.run_id) else 0
    if begun >= MAX_ATTEMPTS:
        raise JobError(
            f"{found}, most likely out of memory; run the same command with fewer --actors or a "
            "smaller --batch-size (-v shows what Ray says)"
        )
    storage.write(mark, f"{plan.run_id} {begun + 1}".encode())
    return last != ""


def _read_if_there(storage: Storage, uri: str) -> str:
    try:
        return storage.read(uri).data.decode()
    except FetchError as exc:
        if exc.kind == "not_found":
            return ""
        raise
