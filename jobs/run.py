"""One job from beginning to end: check → resolve → list and label → commit."""

import time
from dataclasses import asdict, replace
from typing import Any

import pyarrow.compute as pc

from jobs.commit import generation
from jobs.commit.audit import run_here
from jobs.commit.commit import commit_chunks, finished_chunks
from jobs.commit.record import read_record, write_record
from jobs.errors import StorageError
from jobs.inputs import Source
from jobs.inputs.rows import limit_rows
from jobs.job.checks import check_job
from jobs.job.describe import describe_job, describe_settings
from jobs.job.job import Job
from jobs.job.resolve import resolve_job
from jobs.job.spec import JobSpec
from jobs.labelling.cluster import running_ray
from jobs.labelling.pipeline import build_dataset, run_dataset, run_parallel
from jobs.labelling.summary import Summary, check_error_rate
from jobs.listing.changes import Labelled, find_changes, write_removed
from jobs.listing.manifest import Manifest, Totals
from jobs.listing.stream import record_tables
from jobs.progress import JobProgress
from jobs.storage import Storage
from jobs.tallies import shorten

# Committing so many takes less than starting a worker for it; more would take memory here.
_FEW_OBJECTS = 2000


def label(
    spec: JobSpec, *, overwrite: bool = False, retry_errors: bool = False, verbose: bool = False
) -> dict[str, Any]:
    """Run the job that `spec` asks for, or what is left of it, to its end.

    Args:
        spec: what is labelled, and how.
        overwrite: delete what an earlier job wrote to this output first.
        retry_errors: label again what has an error row.
        verbose: let Ray and its workers write to the terminal.

    Returns:
        What job.json says.

    Raises:
        JobError: it cannot be done, or failed; the message says why.
    """
    storage = Storage()
    with JobProgress() as progress:
        progress.say("checking")
        checked = check_job(spec, storage)
        if checked.warning:
            progress.note(f"warning: {checked.warning}")
        with running_ray(verbose=verbose) as resources:
            job = resolve_job(checked, resources)
            record = read_record(storage, job.layout)
            if generation.has_to_start_over(job, record, overwrite=overwrite):
                record = generation.start_over(job, storage)
            try:
                return run_job(job, record, storage, progress, retry_errors=retry_errors)
            except StorageError as exc:
                message = f"{exc}; what is done is kept, and the same command continues"
                raise StorageError(message) from exc


def dry_run(
    spec: JobSpec, *, overwrite: bool = False, retry_errors: bool = False, verbose: bool = False
) -> dict[str, Any]:
    """Check everything, write nothing, and say what `label` would do with the same arguments.

    Raises:
        JobError: it could not be done; the message says why.
    """
    storage = Storage()
    with JobProgress():
        checked = check_job(spec, storage)
        with running_ray(verbose=verbose) as resources:
            job = resolve_job(checked, resources)
        record = None if overwrite else read_record(storage, job.layout)
        if not overwrite:
            generation.check_output(job, record, storage)
        tables = limit_rows(job.source.tables(storage), job.spec.limit)
        if record is not None and generation.is_done(record, job.layout, storage):
            job = job.of_generation(record["generation"])
            labelled = Labelled.load(job, storage, retry_errors=retry_errors)
            tables = find_changes(job, storage, labelled)
        objects = size = 0
        for table in tables:
            objects += table.num_rows
            size += pc.sum(table.column("size")).as_py() or 0  # as far as the listing tells
    planned = {"state": "planned", "objects": objects, "bytes": size, "warning": checked.warning}
    return describe_job(job) | planned | _left_out(job.source)


def run_job(
    job: Job,
    record: dict[str, Any] | None,
    storage: Storage,
    progress: JobProgress,
    *,
    retry_errors: bool = False,
) -> dict[str, Any]:
    """Run a job, or what is left of it, or what has changed since, to its end.

    `record` is the output's, if it has one; the new one is returned.

    Raises:
        SpecError: the output belongs to another job.
        ErrorRateError: too many images are broken.
        JobError: the storage failed for good; the same command continues.
    """
    generation.check_output(job, record, storage)
    if record is None:  # what lies there belongs to no job
        generation.delete_folders(storage, *job.layout.of_a_run, job.layout.manifests)
        record = _run(job, generation.begin(job, storage), None, storage, progress)
    else:
        job = job.of_generation(record["generation"])
        totals = Manifest(storage, job.layout.manifest).totals()
        if not generation.is_done(record, job.layout, storage):
            record = _run(job, record, totals, storage, progress)
        if totals or retry_errors:  # listed by an earlier run: there may be more by now
            record = _update(job, record, storage, progress, retry_errors=retry_errors)
    generation.delete_leftovers(storage, job.layout)
    return record


def _run(
    job: Job, record: dict[str, Any], totals: Totals | None, storage: Storage, progress: JobProgress
) -> dict[str, Any]:
    """Label and commit what is left of a generation; `totals` are its listing's, if it is whole."""
    started = time.monotonic()
    _label(job, record, totals, storage, progress)
    labelled = time.monotonic()
    progress.say("writing the dataset")
    totals = totals or Manifest(storage, job.layout.manifest).totals()
    few = totals is not None and totals.objects <= _FEW_OBJECTS
    counts = commit_chunks(job.layout, storage, run_here if few else run_parallel)
    record = record | {
        **describe_settings(job),
        "state": "done",
        "finished_at": generation.now(),
        "counts": {
            **asdict(counts),
            "error": counts.error,
            **_left_out(totals),
            "removed": 0,
        },
        "timings": {
            "label_s": round(labelled - started, 3),
            "commit_s": round(time.monotonic() - labelled, 3),
            "images_per_s": progress.images_per_s,
        },
        "actual": progress.actual,
    }
    write_record(storage, job.layout, record)
    storage.write(job.layout.success, b"")
    return record


def _update(
    job: Job,
    record: dict[str, Any],
    storage: Storage,
    progress: JobProgress,
    *,
    retry_errors: bool,
) -> dict[str, Any]:
    """Label what has come or changed since the dataset was written."""
    progress.say("comparing with what was labelled before")
    labelled = Labelled.load(job, storage, retry_errors=retry_errors)
    job = job.of_generation(job.layout.generation + 1)
    generation.delete_folders(storage, *job.layout.of_a_run, job.layout.manifest)
    changes = find_changes(job, storage, labelled)
    manifest = Manifest(storage, job.layout.manifest)
    count = sum(x.objects.num_rows for x in record_tables(changes, job, manifest))
    write_removed(job.layout, storage, labelled.removed)
    progress.note(f"{labelled.new:,} objects are new, {labelled.replaced:,} to be labelled again")
    if count:
        begun = generation.begin(job, storage, counts=record["counts"])
        record = _run(job, begun, manifest.totals(), storage, progress)
    else:
        generation.delete_folders(storage, job.layout.manifest)
        progress.note("nothing is left to do")
    removed = len(labelled.removed)
    if removed:
        progress.note(f"{removed:,} are no longer in the input; {job.layout.removed} lists them")
    counts = record["counts"] | _left_out(job.source) | {"removed": removed}
    if record["counts"] != counts:
        record = record | {"counts": counts}
        write_record(storage, job.layout, record)
    return record


def _left_out(listed: Totals | Source | None) -> dict[str, Any]:
    """Return what a listing has left out, as job.json has it."""
    if listed is None:
        return {"duplicates": 0, "passed_over": {}}
    return {"duplicates": listed.duplicates, "passed_over": shorten(listed.passed_over)}


def _label(
    job: Job, record: dict[str, Any], totals: Totals | None, storage: Storage, progress: JobProgress
) -> None:
    """Write the rows of every chunk that has none, unless too many images are broken."""
    progress.say("starting workers")
    done = frozenset(finished_chunks(storage, job.layout))
    if totals is not None:
        sizes = Manifest(storage, job.layout.manifest).chunk_sizes()
        left = [rows for chunk_id, rows in sizes if chunk_id not in done]
        progress.resume(totals.objects - sum(left), totals.objects)
        if not left:
            return
        smallest, largest = job.placement.actors
        actors = (min(smallest, len(left)), largest)
        job = replace(job, placement=replace(job.placement, actors=actors))
    good_before = record.get("counts", {}).get("ok", 0)  # rows of earlier generations
    so_far = Summary()
    for summary in run_dataset(build_dataset(job, done)):
        progress.advance(summary)
        so_far += summary
        if not progress.is_complete:
            check_error_rate(so_far, job.spec.max_error_rate, good_before=good_before)
