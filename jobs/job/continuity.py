"""Whether an output may be continued: what decides its rows, then and now."""

from typing import Any

from jobs.errors import SpecError
from jobs.job.inference import InferenceSpec
from jobs.job.job import Job
from jobs.job.spec import ROW_OPTIONS


def what_decides_rows(job: Job) -> dict[str, Any]:
    """Return everything that makes another job where it is different."""
    options = job.spec.model_dump(mode="json", include=set(ROW_OPTIONS))
    predictions = what_decides_predictions(job.inference)
    precision = predictions.pop("precision")
    return {
        **{name: options[name] for name in ROW_OPTIONS},
        **predictions,
        "carried_columns": [f"{x.name}: {x.type}" for x in job.source.carried],
        "precision": precision,
    }


def what_decides_predictions(inference: InferenceSpec) -> dict[str, Any]:
    """Return everything that gives the same images other labels or scores where it is different."""
    return {
        "model": f"{inference.model.name}:{inference.model.version}",
        "weights_sha256": inference.weights_sha256,
        "labels_and_config": inference.model.fingerprint,
        "precision": inference.options.precision,
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Say what in `now` was different before."""
    return [
        f"{name.replace('_', '-')} was {before.get(name)!r} and is now {now[name]!r}"
        for name in now
        if before.get(name) != now[name]
    ]


def is_same_job(job: Job, record: dict[str, Any]) -> bool:
    """Say whether `job` would give the rows that the recorded job gives."""
    return not differences(record["rows"], what_decides_rows(job))


def check_same_job(job: Job, record: dict[str, Any]) -> None:
    """Raise a SpecError, which says what differs, unless `is_same_job`."""
    if found := differences(record["rows"], what_decides_rows(job)):
        raise SpecError(
            f"output {job.layout.root} belongs to another job: {'; '.join(found)}; choose "
            "another OUTPUT, or start over with --overwrite"
        )
