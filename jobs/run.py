"""One job from beginning to end: list and label → commit."""

import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.commit.audit import run_here
from jobs.commit.commit import commit_chunks, finished_chunks
from jobs.commit.record import (
    compare_jobs,
    describe_plan,
    describe_settings,
    read_record,
    write_record,
)
from jobs.dataset.layout import Layout
from jobs.errors import StorageError
from jobs.job.job import Plan
from jobs.job.resolve import check_output, make_plan
from jobs.job.spec import JobSpec
from jobs.labelling.cluster import running_ray
from jobs.labelling.pipeline import build_dataset, run_dataset, run_parallel
from jobs.labelling.summary import ErrorRate, is_over
from jobs.listing.changes import Labelled, find_changes, write_removed
from jobs.listing.manifest import Manifest
from jobs.listing.stream import limit_rows, record_tables
from jobs.progress import JobProgress
from jobs.storage import Storage

# Committing so many takes less than starting a worker for it; more would take memory here.
_FEW_OBJECTS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a job is run; what is labelled, and how, is the spec's.

    Attributes:
        overwrite: delete what an earlier job wrote to this output first.
        retry_errors: label again what has an error row.
        verbose: let Ray and its workers write to the terminal.
    """

    overwrite: bool = False
    retry_errors: bool = False
    verbose: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """How a job ended; `record` is what job.json says."""

    record: dict[str, Any]
    over_error_rate: bool


def label(spec: JobSpec, manner: Manner) -> Result:
    """Run the job that `spec` asks for, or what is left of it, to its end.

    Raises:
        JobError: it cannot be done, or failed; the message says why.
    """
    storage = Storage()
    with JobProgress() as progress, ExitStack() as stack:
        progress.say("checking")
        ray = running_ray(verbose=manner.verbose)
        plan = make_plan(spec, storage, lambda: stack.enter_context(ray))
        if has_to_start_over(plan, storage, overwrite=manner.overwrite):
            start_over(plan, storage)
        try:
            return run_job(plan, storage, progress, retry_errors=manner.retry_errors)
        except StorageError as exc:
            message = f"{exc}; what is done is kept, and the same command continues"
            raise StorageError(message) from exc


def dry_run(spec: JobSpec, manner: Manner) -> Result:
    """Check everything, write nothing, and say what `label` would do with the same arguments.

    Raises:
        JobError: it could not be done; the message says why.
    """
    storage = Storage()
    with JobProgress(), ExitStack() as stack:
        ray = running_ray(verbose=manner.verbose)
        plan = make_plan(spec, storage, lambda: stack.enter_context(ray))
        record = None if manner.overwrite else check_output(plan, storage)
        tables = limit_rows(plan.source.tables(storage), plan.spec.limit)
        if record is not None and _is_done(record, plan, storage):
            plan = _of_generation(plan, record["generation"])
            labelled = Labelled.load(plan, storage, retry_errors=manner.retry_errors)
            tables = find_changes(plan, storage, labelled)
        objects, size = _measure(tables)
    planned = {**describe_plan(plan), "state": "planned", "objects": objects, "bytes": size}
    return Result(planned, over_error_rate=False)


def run_job(
    plan: Plan, storage: Storage, progress: JobProgress, *, retry_errors: bool = False
) -> Result:
    """Run a job, or what is left of it, or what has changed since, to its end.

    Raises:
        SpecError: the output belongs to another job.
        ErrorRateError: too many images are broken.
        JobError: the storage failed for good; the same command continues.
    """
    record = check_output(plan, storage)
    if record is None:
        _delete_all(storage, *plan.layout.of_a_run, plan.layout.manifests)  # without a record
        record = _run(plan, storage, progress, _begin(plan, storage))
    else:
        plan = _of_generation(plan, record["generation"])
        was_listed = Manifest(storage, plan.layout.manifest).totals() is not None
        if not _is_done(record, plan, storage):
            record = _run(plan, storage, progress, record)
        if was_listed or retry_errors:  # by an earlier run: there may be more by now
            record = _update(plan, storage, progress, record, retry_errors=retry_errors)
    _delete_all(storage, *plan.layout.of_a_run)
    _delete_leftovers(storage, plan.layout)
    return Result(record, over_error_rate=is_over(record["counts"], plan.spec.max_error_rate))


def start_over(plan: Plan, storage: Storage) -> None:
    """Delete what an earlier job wrote to this output, and nothing else; begin the new one.

    Raises:
        StorageError: something could not be deleted; the same command goes on with it.
    """
    _begin(plan, storage, state="deleting")
    _delete_all(storage, *plan.layout.everything)
    _begin(plan, storage, state="running", overwrites=True)


def has_to_start_over(plan: Plan, storage: Storage, *, overwrite: bool) -> bool:
    """Say whether there are rows to delete; not those of a run that began by deleting others."""
    record = read_record(storage, plan.layout)
    if record is None:
        return False
    is_same = not compare_jobs(plan, record)
    if not overwrite:
        return is_same and record["state"] == "deleting"
    return not (is_same and record["state"] == "running" and record.get("overwrites", False))


def _begin(plan: Plan, storage: Storage, **facts: Any) -> dict[str, Any]:
    """Write the record of a generation that is to be labelled."""
    record = {
        **describe_plan(plan),
        "generation": plan.layout.generation,
        "state": "running",
        "started_at": _now(),
        **facts,
    }
    write_record(storage, plan.layout, record)
    return record


def _is_done(record: dict[str, Any], plan: Plan, storage: Storage) -> bool:
    return record["state"] == "done" and storage.head(plan.layout.success) is not None


def _of_generation(plan: Plan, generation: int) -> Plan:
    return replace(plan, layout=replace(plan.layout, generation=generation))


def _run(
    plan: Plan, storage: Storage, progress: JobProgress, record: dict[str, Any]
) -> dict[str, Any]:
    """Label and commit what is left of a generation."""
    started = time.monotonic()
    _label(plan, storage, progress, record.get("counts", {}).get("ok", 0))
    labelled = time.monotonic()
    progress.say("writing the dataset")
    totals = Manifest(storage, plan.layout.manifest).totals()
    few = totals is not None and totals.objects <= _FEW_OBJECTS
    counts = commit_chunks(plan.layout, storage, run_here if few else run_parallel)
    record = record | {
        **describe_settings(plan),
        "state": "done",
        "finished_at": _now(),
        "counts": {
            **asdict(counts),
            "error": counts.error,
            "duplicates": totals.duplicates if totals else 0,
            "removed": 0,
        },
        "timings": {
            "label_s": round(labelled - started, 3),
            "commit_s": round(time.monotonic() - labelled, 3),
            "images_per_s": progress.images_per_s,
        },
        "actual": progress.actual,
    }
    write_record(storage, plan.layout, record)
    storage.write(plan.layout.success, b"")
    return record


def _update(
    plan: Plan,
    storage: Storage,
    progress: JobProgress,
    record: dict[str, Any],
    *,
    retry_errors: bool,
) -> dict[str, Any]:
    """Label what has come or changed since the dataset was written."""
    progress.say("comparing with what was labelled before")
    labelled = Labelled.load(plan, storage, retry_errors=retry_errors)
    plan = _of_generation(plan, plan.layout.generation + 1)
    _delete_all(storage, *plan.layout.of_a_run, plan.layout.manifest)
    changes = find_changes(plan, storage, labelled)
    manifest = Manifest(storage, plan.layout.manifest)
    count = sum(x.objects.num_rows for x in record_tables(changes, plan, manifest))
    write_removed(plan.layout, storage, labelled.removed)
    progress.note(f"{labelled.new:,} objects are new, {labelled.replaced:,} to be labelled again")
    if count:
        record = _run(plan, storage, progress, _begin(plan, storage, counts=record["counts"]))
    else:
        _delete_all(storage, plan.layout.manifest)
        progress.note("nothing is left to do")
    removed = len(labelled.removed)
    if removed:
        progress.note(f"{removed:,} are no longer in the input; {plan.layout.removed} lists them")
    if record["counts"]["removed"] != removed:
        record = record | {"counts": {**record["counts"], "removed": removed}}
        write_record(storage, plan.layout, record)
    return record


def _label(plan: Plan, storage: Storage, progress: JobProgress, good_before: int) -> None:
    """Write the rows of every chunk that has none.

    Args:
        plan: of the generation.
        storage: where it lies.
        progress: is told of every chunk.
        good_before: rows of earlier generations, as `ErrorRate` counts them.

    Raises:
        ErrorRateError: too many images are broken, and there are more to come.
    """
    progress.say("starting workers")
    done = frozenset(finished_chunks(storage, plan.layout))
    manifest = Manifest(storage, plan.layout.manifest)
    totals = manifest.totals()
    if totals is not None:
        left = [rows for chunk_id, rows in manifest.chunk_sizes() if chunk_id not in done]
        progress.resume(totals.objects - sum(left), totals.objects)
        if not left:
            return
        smallest, largest = plan.actors
        plan = replace(plan, actors=(min(smallest, len(left)), largest))
    rate = ErrorRate(plan.spec.max_error_rate, images=good_before)
    for summary in run_dataset(build_dataset(plan, done)):
        progress.advance(summary)
        rate.add(summary)
        if not progress.is_complete:
            rate.check()


def _measure(tables: Iterable[pa.Table]) -> tuple[int, int]:
    """Count objects, and their bytes as far as the listing tells."""
    objects = size = 0
    for table in tables:
        objects += table.num_rows
        size += pc.sum(table.column("size")).as_py() or 0
    return objects, size


def _delete_all(storage: Storage, *folders: str) -> None:
    for folder in folders:
        storage.delete([item.uri for item in storage.list(folder)])


def _delete_leftovers(storage: Storage, layout: Layout) -> None:
    """Delete what killed writers left beside the record on a local disk."""
    hidden = storage.list(layout.ours, starts_with=".")
    storage.delete([item.uri for item in hidden if item.uri.endswith(".tmp")])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
