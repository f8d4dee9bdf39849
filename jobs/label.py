"""One job from beginning to end: list and label → commit."""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc

from jobs.commit import add_up, delete_stale_files, finished_chunks, merge_part, plan_parts
from jobs.errors import JobError
from jobs.layout import Layout
from jobs.listing import limit_rows
from jobs.manifest import Manifest
from jobs.pipeline import build_dataset, run_dataset, run_parallel, running_ray
from jobs.plan import Plan
from jobs.preflight import check_output, make_plan
from jobs.progress import JobProgress
from jobs.record import describe_plan, read_record, write_record
from jobs.spec import JobSpec
from jobs.storage import Storage


@dataclass(frozen=True, slots=True)
class Result:
    """How a job ended; `record` is what job.json says."""

    record: dict[str, Any]
    over_error_rate: bool


def label(spec: JobSpec, *, overwrite: bool = False, verbose: bool = False) -> Result:
    """Run the job that `spec` asks for, or what is left of it, to its end.

    Args:
        spec: what is asked for.
        overwrite: delete what an earlier job wrote to this output first.
        verbose: let Ray and its workers write to the terminal.

    Raises:
        JobError: it cannot be done, or failed; the message says why.
    """
    storage = Storage()
    with JobProgress() as progress, ExitStack() as stack:
        progress.say("checking")
        plan = make_plan(spec, storage, lambda: stack.enter_context(running_ray(verbose=verbose)))
        if overwrite:
            start_over(plan.layout, storage)
        return run_job(plan, storage, progress)


def dry_run(spec: JobSpec, *, overwrite: bool = False, verbose: bool = False) -> Result:
    """Check everything, write nothing, and say what `label` would do with the same arguments.

    Raises:
        JobError: it could not be done; the message says why.
    """
    storage = Storage()
    with ExitStack() as stack:
        plan = make_plan(spec, storage, lambda: stack.enter_context(running_ray(verbose=verbose)))
        if not overwrite:
            check_output(plan, storage)
        objects, size = measure_input(plan, storage)
    planned = {**describe_plan(plan), "state": "planned", "objects": objects, "bytes": size}
    return Result(planned, over_error_rate=False)


def run_job(plan: Plan, storage: Storage, progress: JobProgress) -> Result:
    """Run a job, or what is left of it, to its end.

    Raises:
        SpecError: the output belongs to another job.
        JobError: the storage failed for good; the same command continues.
    """
    record = check_output(plan, storage)
    if record is None:
        # of a job without a record
        for folder in (plan.layout.chunks, plan.layout.attempts, plan.layout.manifest):
            storage.delete([item.uri for item in storage.list(folder)])
        record = {**describe_plan(plan), "state": "running", "started_at": _now()}
        write_record(storage, plan.layout, record)
    if storage.head(plan.layout.success) is None:
        record = _run(plan, storage, progress, record)
    else:
        progress.say("this job was done before; nothing is left to do")
    for folder in (plan.layout.chunks, plan.layout.attempts):
        storage.delete(item.uri for item in storage.list(folder))
    counts = record["counts"]
    over = counts["error"] > plan.spec.max_error_rate * counts["listed"]
    return Result(record, over_error_rate=over)


def start_over(layout: Layout, storage: Storage) -> None:
    """Delete what an earlier job wrote to this output, and nothing else.

    Raises:
        StorageError: something could not be deleted.
    """
    if read_record(storage, layout) is not None:
        for place in layout.everything:
            storage.delete([item.uri for item in storage.list(place)])


def measure_input(plan: Plan, storage: Storage) -> tuple[int, int]:
    """Count the objects that a job would label, and their bytes as far as the listing tells."""
    objects = size = 0
    for table in limit_rows(plan.source.tables(storage), plan.spec.limit):
        objects += table.num_rows
        size += pc.sum(table.column("size")).as_py() or 0
    return objects, size


def _run(
    plan: Plan, storage: Storage, progress: JobProgress, record: dict[str, Any]
) -> dict[str, Any]:
    started = time.monotonic()
    _label(plan, storage, progress)
    labelled = time.monotonic()
    counts = _commit(plan, storage, progress)
    record = record | {
        "state": "done",
        "finished_at": _now(),
        "counts": counts,
        "timings": {
            "label_s": round(labelled - started, 3),
            "commit_s": round(time.monotonic() - labelled, 3),
            "images_per_s": progress.images_per_s,
        },
    }
    write_record(storage, plan.layout, record)
    storage.write(plan.layout.success, b"")
    return record


def _label(plan: Plan, storage: Storage, progress: JobProgress) -> None:
    """Write the rows of every chunk that has none."""
    progress.say("starting workers")
    done = frozenset(finished_chunks(storage, plan.layout))
    manifest = Manifest(storage, plan.layout.manifest)
    totals = manifest.totals()
    if totals is not None:
        finished = sum(rows for chunk_id, rows in manifest.chunk_sizes() if chunk_id in done)
        progress.resume(finished, totals.objects)
        if finished == totals.objects:
            return
    for summary in run_dataset(build_dataset(plan, done)):
        progress.advance(summary)


def _commit(plan: Plan, storage: Storage, progress: JobProgress) -> dict[str, Any]:
    """Turn chunks into the dataset and return its accounts.

    Raises:
        JobError: they do not balance.
    """
    progress.say("writing the dataset")
    parts = plan_parts(storage, plan.layout)
    counts = add_up(run_parallel(merge_part, parts))
    delete_stale_files(storage, plan.layout, len(parts))
    totals = Manifest(storage, plan.layout.manifest).totals()
    if totals is None or totals.objects != counts.ok + counts.error:
        listed = "not all" if totals is None else totals.objects
        raise JobError(
            f"{listed} objects were listed, but there are {counts.ok} rows labelled and "
            f"{counts.error} errors; run the same command again"
        )
    return {
        "listed": totals.objects,
        "ok": counts.ok,
        "error": counts.error,
        "errors": counts.errors,
        "duplicates": totals.duplicates,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
