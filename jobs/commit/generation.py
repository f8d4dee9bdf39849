"""The state of an output: whose it is, which generation it is at, and what is to be deleted."""

from datetime import UTC, datetime
from typing import Any

from jobs.commit.record import write_record
from jobs.dataset.layout import Layout
from jobs.errors import SpecError
from jobs.job.continuity import check_same_job, is_same_job
from jobs.job.describe import describe_job
from jobs.job.job import Job
from jobs.storage import Storage


def check_output(job: Job, record: dict[str, Any] | None, storage: Storage) -> None:
    """Make sure that the output is this job's own, or new; `record` is the output's, if any.

    Raises:
        SpecError: it belongs to another job, or to another program.
    """
    if record is not None:
        check_same_job(job, record)
        return
    for folder in map(job.layout.outcome, ("ok", "error")):
        if next(iter(storage.list(folder)), None) is not None:
            raise SpecError(f"{folder} holds files of another program; choose another OUTPUT")


def has_to_start_over(job: Job, record: dict[str, Any] | None, *, overwrite: bool) -> bool:
    """Say whether there are rows to delete; not those of a run that began by deleting others."""
    if record is None:
        return False
    is_same = is_same_job(job, record)
    if not overwrite:
        return is_same and record["state"] == "deleting"
    return not (is_same and record["state"] == "running" and record.get("overwrites", False))


def start_over(job: Job, storage: Storage) -> dict[str, Any]:
    """Delete what an earlier job wrote to this output, and nothing else; begin the new one.

    Returns:
        The new job's record.

    Raises:
        StorageError: something could not be deleted; the same command continues.
    """
    begin(job, storage, state="deleting")
    delete_folders(storage, *job.layout.everything)
    return begin(job, storage, state="running", overwrites=True)


def begin(job: Job, storage: Storage, **facts: Any) -> dict[str, Any]:
    """Write the record of a generation that is to be labelled, and return it."""
    record = {
        **describe_job(job),
        "generation": job.layout.generation,
        "state": "running",
        "started_at": now(),
        **facts,
    }
    write_record(storage, job.layout, record)
    return record


def is_done(record: dict[str, Any], layout: Layout, storage: Storage) -> bool:
    """Say whether the recorded job has come to its end."""
    return record["state"] == "done" and storage.head(layout.success) is not None


def delete_folders(storage: Storage, *folders: str) -> None:
    """Delete everything in some folders."""
    for folder in folders:
        storage.delete([item.uri for item in storage.list(folder)])


def delete_leftovers(storage: Storage, layout: Layout) -> None:
    """Delete what only a run needs, and what killed writers left beside the record."""
    delete_folders(storage, *layout.of_a_run)
    hidden = storage.list(layout.ours, starts_with=".")
    storage.delete([item.uri for item in hidden if item.uri.endswith(".tmp")])


def now() -> str:
    """Return the time as job.json has it: UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
