"""`labelmill plan`: list → sample → measure → forecast."""

import time
from typing import Any

from jobs.inputs.rows import limit_rows
from jobs.inputs.sample import Sample, draw_sample
from jobs.job.checks import check_job
from jobs.job.describe import describe_job
from jobs.job.job import Job
from jobs.job.resolve import resolve_job
from jobs.job.spec import JobSpec
from jobs.planning.forecast import Forecast, make_forecast
from jobs.planning.measure import measure, sample_size
from jobs.progress import JobProgress
from jobs.resources import Resources, count_cores
from jobs.storage import Storage, leaving_no_folders
from model_repo.inception_v3.options import count_gpus

_NOTE_INTERVAL_S = 5.0


def estimate(spec: JobSpec, price_per_hour: float | None = None) -> dict[str, Any]:
    """Say how fast a job would be on this machine, how long it would take, and what it would cost.

    Args:
        spec: the job; what it leaves open is chosen by measuring. It needs no output.
        price_per_hour: of this machine, in any currency.

    Raises:
        JobError: the job or the measurement is not possible; the message says why.
    """
    storage = Storage()
    with JobProgress() as progress:
        progress.say("checking")
        on_cpus = spec.runtime == "openvino" or spec.num_gpus == 0
        resources = Resources(count_cores(), 0 if on_cpus else count_gpus())
        job = resolve_job(check_job(spec, storage), resources)
        sample = _draw(job, storage, progress)
        progress.say(f"measuring with {sample.rows.num_rows:,} of {sample.objects:,} objects")
        with leaving_no_folders(job.layout.probe):
            measured = measure(job, sample.rows)
    return _describe(job, sample, make_forecast(measured, job), price_per_hour)


def _draw(job: Job, storage: Storage, progress: JobProgress) -> Sample:
    progress.say("listing")
    told = time.monotonic()
    tables = limit_rows(job.source.tables(storage), job.spec.limit)
    for sample in draw_sample(tables, sample_size()):
        if time.monotonic() - told > _NOTE_INTERVAL_S:
            progress.say(f"listing: {sample.objects:,} objects so far (--limit N takes fewer)")
            told = time.monotonic()
    return sample


def _describe(
    job: Job, sample: Sample, forecast: Forecast, price_per_hour: float | None
) -> dict[str, Any]:
    seconds = forecast.seconds(sample.objects)
    return {
        **describe_job(job),
        "state": "estimated",
        "batch_size": forecast.batch_size,
        "actors": [min(job.placement.actors[0], forecast.actors), forecast.actors],
        "plan": forecast.to_json(),
        "objects": sample.objects,
        # Where the listing tells no sizes, those of the sample stand for them.
        "bytes": sample.bytes
        + round((sample.objects - sample.sized) * forecast.measured.image_bytes),
        "seconds": round(seconds, 1),
        "price": None if price_per_hour is None else price_per_hour * seconds / 3600,
    }
