"""A job as JSON, for job.json and for `--dry-run`."""

from importlib.metadata import version
from typing import Any

from jobs.job.continuity import what_decides_rows
from jobs.job.job import Job

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


def describe_job(job: Job) -> dict[str, Any]:
    """Return the options as resolved, the model, and the versions in use."""
    return {
        "spec": job.spec.model_dump(mode="json"),
        "rows": what_decides_rows(job),
        "num_classes": job.inference.model.num_classes,
        "runtime": job.inference.options.runtime,
        "versions": {name: version(name) for name in _PACKAGES},
        **describe_settings(job),
    }


def describe_settings(job: Job) -> dict[str, Any]:
    """Return what decides how fast a job is."""
    return {
        "batch_size": job.inference.batch_size,
        "actors": list(job.placement.actors),
        "num_cpus": job.placement.num_cpus,
        "num_gpus": job.placement.num_gpus,
    }
