"""`labelmill plan`, and how `labelmill label` makes use of what it measured.

A measurement is kept in the user's cache folder, under a name made of all that it depends on.
"""

import hashlib
import itertools
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.commit.record import describe_plan, what_decides_rows
from jobs.errors import JobError
from jobs.inputs.sample import Sample, draw_sample
from jobs.job.job import Plan, Resources
from jobs.job.resolve import make_plan
from jobs.job.spec import JobSpec
from jobs.listing.stream import limit_rows
from jobs.planning.forecast import Forecast, make_forecast
from jobs.planning.measure import Measurement, measure, sample_size
from jobs.progress import JobProgress
from jobs.resources import count_cores
from jobs.storage import Storage, is_s3
from model_repo.inception_v3.cache import cache_folder
from model_repo.inception_v3.options import count_gpus

# A job that measures before it starts does not wait for the whole of its listing.
_LISTED_BEFORE_A_JOB = 20_000
_NOTE_INTERVAL_S = 5.0
_FRESH_S = 30 * 24 * 3600  # a measurement that is older is not used: machines change


def estimate(spec: JobSpec, price_per_hour: float | None = None) -> dict[str, Any]:
    """Say how fast a job would be on this machine, how long it would take, and what it would cost.

    Args:
        spec: the job; what it leaves open is chosen by measuring. It needs no output.
        price_per_hour: of this machine, in any currency.

    Raises:
        JobError: it could not be done, or not be measured; the message says why.
    """
    storage = Storage()
    chosen = {"batch_size": spec.batch_size or "auto", "actors": spec.actors or "auto"}
    with JobProgress() as progress:
        progress.say("checking")
        resources = Resources(count_cores(), 0 if _on_cpus(spec) else count_gpus())
        plan = make_plan(spec.model_copy(update=chosen), storage, lambda: resources)
        sample = _list_all(plan, storage, progress)
        progress.say(f"measuring with {sample.rows.num_rows:,} of {sample.objects:,} objects")
        measured = measure(plan, sample.rows)
    _remember(plan, measured)
    forecast = make_forecast(measured, plan)
    return _describe(plan, sample, forecast, price_per_hour)


def with_forecast(
    plan: Plan,
    storage: Storage,
    progress: JobProgress,
    run_parallel: Callable[..., list[Measurement]],
) -> Plan:
    """Add a forecast to a job's plan, and the settings that follow from it.

    It comes from an earlier measurement on the same machine, if there is one; if there is none it
    is measured where a setting is `auto`, and there is no forecast otherwise.

    Args:
        plan: the job.
        storage: where its input lies.
        progress: is told of what takes time.
        run_parallel: of `jobs.labelling.pipeline`: what is measured is one of the job's own nodes.
    """
    measured = _recall(plan)
    if measured is None and plan.spec.wants_measuring:
        progress.say("measuring")
        rows = _list_some(plan, storage)
        num_gpus = math.ceil(plan.num_gpus)
        try:
            (measured,) = run_parallel(lambda x: measure(plan, x), [rows], num_gpus=num_gpus)
            _remember(plan, measured)
        except JobError as exc:  # no image can stop a job
            progress.note(f"cannot measure ({exc}); the usual settings are used")
    if measured is None:
        return plan
    forecast = make_forecast(measured, plan)
    if plan.spec.wants_measuring:
        progress.note(
            f"--batch-size {forecast.batch_size} --actors {forecast.actors}, as measured at "
            f"{measured.at} in {measured.took_s:.0f} s"
        )
    return _with_settings(plan, forecast)


def _with_settings(plan: Plan, forecast: Forecast) -> Plan:
    actors, num_cpus = plan.actors, plan.num_cpus
    if plan.spec.actors == "auto":
        actors = (min(actors[0], forecast.actors), forecast.actors)
        num_cpus = 0.0 if plan.num_gpus else min(1.0, plan.resources.cpus / forecast.actors)
    return replace(
        plan,
        batch_size=forecast.batch_size,
        actors=actors,
        num_cpus=num_cpus,
        forecast=forecast.to_json(),
    )


def _describe(
    plan: Plan, sample: Sample, forecast: Forecast, price_per_hour: float | None
) -> dict[str, Any]:
    seconds = forecast.seconds(sample.objects)
    return {
        **describe_plan(_with_settings(plan, forecast)),
        "state": "estimated",
        "objects": sample.objects,
        # Where the listing tells no sizes, those of the sample stand for them.
        "bytes": sample.bytes
        + round((sample.objects - sample.sized) * forecast.measured.image_bytes),
        "seconds": round(seconds, 1),
        "price": None if price_per_hour is None else price_per_hour * seconds / 3600,
    }


def _on_cpus(spec: JobSpec) -> bool:
    return spec.runtime == "openvino" or spec.num_gpus == 0


def _list_all(plan: Plan, storage: Storage, progress: JobProgress) -> Sample:
    progress.say("listing")
    told = time.monotonic()
    for sample in _samples(plan, storage):
        if time.monotonic() - told > _NOTE_INTERVAL_S:
            progress.say(f"listing: {sample.objects:,} objects so far (--limit N takes fewer)")
            told = time.monotonic()
    return sample


def _list_some(plan: Plan, storage: Storage) -> pa.Table:
    for sample in _samples(plan, storage):
        if sample.objects >= _LISTED_BEFORE_A_JOB:
            break
    return sample.rows


def _samples(plan: Plan, storage: Storage) -> Iterator[Sample]:
    tables = limit_rows(plan.source.tables(storage), plan.spec.limit)
    return draw_sample(tables, sample_size())


def _remember(plan: Plan, measured: Measurement) -> None:
    path = _cache_path(plan, *_special(plan.spec))
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with suppress(OSError):  # a cache that cannot be written is no reason to fail
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(asdict(measured)))
        temporary.rename(path)


def _recall(plan: Plan) -> Measurement | None:
    """Return the measurement that is closest: what was special about it, this plan has as well."""
    for facts in itertools.product(*(dict.fromkeys((x, None)) for x in _special(plan.spec))):
        path = _cache_path(plan, *facts)
        with suppress(OSError, ValueError, TypeError, KeyError):  # none, or of another release
            if time.time() - path.stat().st_mtime < _FRESH_S:
                return Measurement.from_json(json.loads(path.read_text()))
    return None


def _special(spec: JobSpec) -> tuple[str | int | None, ...]:
    """Return where rows are written, the one batch size, most actors, and objects if they are few.

    Each is None where a measurement is of no place, every size, all actors that there is room for,
    or as many objects as it wants.
    """
    few = spec.limit if spec.limit and spec.limit < sample_size() else None
    actors = spec.actor_range[1] if spec.actor_range else None
    return _place(spec.output), spec.fixed_batch_size, actors, few


def _place(output: str) -> str | None:
    """Return what decides how long writing takes: this machine's disks, or a bucket."""
    if not output:
        return None
    return "/".join(output.split("/")[:3]) if is_s3(output) else "disk"


def _cache_path(plan: Plan, *special: str | int | None) -> Path:
    """Name a measurement by all that it depends on, with what is special about it."""
    where = os.environ.get("RAY_ADDRESS") or platform.node()
    rows = {name: x for name, x in what_decides_rows(plan).items() if name != "limit"}
    gpus = plan.resources.gpus if plan.num_gpus else 0
    facts = (
        *(where, plan.resources.cpus, gpus, version("labelmill")),
        *(rows, plan.options, plan.num_gpus, special),
    )
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
    return cache_folder("measurements") / f"{digest}.json"
