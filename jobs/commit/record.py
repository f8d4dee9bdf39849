"""`_labelmill/job.json`: what was asked, with what it was done, and what came of it."""

import json
from importlib.metadata import version
from typing import Any

from jobs.dataset.layout import Layout
from jobs.errors import SpecError
from jobs.job.job import Plan
from jobs.job.spec import ROW_OPTIONS
from jobs.storage import Storage

_PACKAGES = (
    "labelmill",
    "openvino",
    "pillow",
    "pyarrow",
    "ray",
    "simplejpeg",
    "torch",
    "torchvision",
)


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON: the options as resolved, the model, and the versions in use."""
    return {
        "spec": plan.spec.model_dump(mode="json"),
        "rows": what_decides_rows(plan),
        "num_classes": plan.model.num_classes,
        "runtime": plan.options.runtime,
        "versions": {name: version(name) for name in _PACKAGES},
        **describe_settings(plan),
    }


def describe_settings(plan: Plan) -> dict[str, Any]:
    """Return what decides how fast a job is."""
    return {
        "batch_size": plan.batch_size,
        "actors": list(plan.actors),
        "num_cpus": plan.num_cpus,
        "num_gpus": plan.num_gpus,
    }


def read_record(storage: Storage, layout: Layout) -> dict[str, Any] | None:
    """Read the record of the job that an output belongs to; None if there is no job yet."""
    if storage.head(layout.job) is None:
        return None
    try:
        record: dict[str, Any] = json.loads(storage.read(layout.job).data)
    except ValueError as exc:
        raise SpecError(f"{layout.job} is damaged: {exc}; choose another OUTPUT") from exc
    return record


def write_record(storage: Storage, layout: Layout, record: dict[str, Any]) -> None:
    """Write the record, replacing an earlier one."""
    storage.write(layout.job, json.dumps(record, indent=2).encode())


def check_same_job(plan: Plan, record: dict[str, Any]) -> None:
    """Make sure that `plan` would give the rows that the recorded job gives.

    Raises:
        SpecError: it would not; the message says what differs.
    """
    if differences := compare_jobs(plan, record):
        raise SpecError(
            f"output {plan.layout.root} belongs to another job: {'; '.join(differences)}; choose "
            "another OUTPUT, or start over with --overwrite"
        )


def compare_jobs(plan: Plan, record: dict[str, Any]) -> list[str]:
    """Say what `plan` decides about rows in another way than the recorded job."""
    before, now = record["rows"], what_decides_rows(plan)
    return [
        f"{name.replace('_', '-')} was {before.get(name)!r} and is now {now[name]!r}"
        for name in now
        if before.get(name) != now[name]
    ]


def what_decides_rows(plan: Plan) -> dict[str, Any]:
    """Return what another value of makes another job."""
    options = plan.spec.model_dump(mode="json", include=set(ROW_OPTIONS))
    return {
        **{name: options[name] for name in ROW_OPTIONS},
        "model": f"{plan.model.name}:{plan.model.version}",
        "weights_sha256": plan.weights_sha256,
        "labels_and_config": plan.model.fingerprint,
        "carried_columns": [f"{x.name}: {x.type}" for x in plan.source.carried],
        "precision": plan.options.precision,
    }
