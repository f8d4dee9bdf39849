"""Checks before any work: what can be known to go wrong is said now, in one sentence."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jobs.commit.record import check_same_job, read_record
from jobs.dataset.layout import Layout
from jobs.errors import FetchError, SpecError
from jobs.inputs import Source, open_source
from jobs.inputs.fetch import fetch_images
from jobs.inputs.objects import has_glob, matches_glob
from jobs.job.job import Plan, Resources
from jobs.job.model import find_model, with_absolute_paths
from jobs.job.spec import JobSpec
from jobs.listing.chunks import count_chunks
from jobs.listing.stream import limit_rows
from jobs.storage import Storage, to_uri
from model_repo.inception_v3 import ModelError, RuntimeOptions, prepare
from model_repo.inception_v3.options import count_shares

# So many objects are tried before "may list, may not read" is said of the whole input.
_TRIED_OBJECTS = 5
# A GPU has too little to do with fewer; what does not fit into its memory is halved there.
_GPU_BATCH_SIZE = 128


def make_plan(
    spec: JobSpec,
    storage: Storage,
    start_ray: Callable[[], Resources],
) -> Plan:
    """Resolve and check everything that a job needs; nothing stays written.

    What needs no cluster is checked before `start_ray` is called, since that takes seconds. Where
    nothing is to be written, there is no output.

    Raises:
        SpecError: what was asked for cannot be done.
        JobError: the storage fails.
    """
    spec = with_absolute_paths(spec).model_copy(update={"input": to_uri(spec.input)})
    layout = Layout.of(spec.output)
    if spec.output:
        _check_apart(spec.input, layout)
    source = open_source(spec.input, storage, image_column=spec.image_column)
    first_rows = _check_readable(spec, source, storage)
    if spec.output:
        storage.write(layout.probe, b"labelmill")
        storage.delete([layout.probe])
    with _as_spec_errors():
        find_model(spec, storage)
    return resolve_plan(spec, source, storage, start_ray(), first_rows=first_rows)


def resolve_plan(
    spec: JobSpec, source: Source, storage: Storage, resources: Resources, *, first_rows: int
) -> Plan:
    """Choose what `spec` leaves open.

    Args:
        spec: with absolute paths.
        source: what is listed.
        storage: where the model may lie.
        resources: what there is to run on.
        first_rows: rows of the listing's first page.

    Raises:
        SpecError: the model or the options cannot be had.
    """
    with _as_spec_errors():
        model, weights = find_model(spec, storage)
    num_gpus = _choose_gpus(spec, resources)
    with _as_spec_errors():
        wanted = RuntimeOptions(
            device="cuda" if num_gpus else "cpu",
            runtime=spec.runtime,
            precision=spec.precision or "auto",
            outputs=spec.outputs,
        )
        options = wanted.resolve(model.precision)
        prepare(model, weights, options)
    largest = count_shares(resources.gpus, num_gpus) if num_gpus else resources.cpus
    # As many from the start as the first page of the listing keeps busy; the pool grows by itself.
    actors = spec.actor_range or (min(largest, count_chunks(first_rows)), largest)
    return Plan(
        spec=spec,
        source=source,
        layout=Layout.of(spec.output),
        model=model.spec,
        weights_sha256=weights.sha256,
        options=options,
        batch_size=spec.batch_size
        or max(model.spec.max_batch_size, _GPU_BATCH_SIZE if num_gpus else 0),
        actors=actors,
        # More actors than cores share them; with GPUs the cores are for decoding.
        num_cpus=0.0 if num_gpus else min(1.0, resources.cpus / actors[1]),
        num_gpus=num_gpus,
        separate_decode=num_gpus > 0,
        resources=resources,
    )


def check_output(plan: Plan, storage: Storage) -> dict[str, Any] | None:
    """Make sure that the output is this job's own; return its record, or None if it is new.

    Raises:
        SpecError: it belongs to another job, or to somebody else.
    """
    record = read_record(storage, plan.layout)
    if record is not None:
        check_same_job(plan, record)
        return record
    for outcome in ("ok", "error"):
        folder = plan.layout.outcome(outcome)
        if next(iter(storage.list(folder)), None) is not None:
            raise SpecError(f"{folder} holds files of another program; choose another OUTPUT")
    return None


def _check_apart(input_uri: str, layout: Layout) -> None:
    """The output may not lie in the input, or its own files would be labelled."""
    folder = input_uri.rstrip("/")
    inside = layout.root == folder or layout.root.startswith(folder + "/")
    if inside or (has_glob(input_uri) and matches_glob(layout.job, input_uri)):
        raise SpecError(
            f"output {layout.root} lies inside input {input_uri}; choose an OUTPUT beside it"
        )


def _check_readable(spec: JobSpec, source: Source, storage: Storage) -> int:
    """Try to read the first objects; return how many rows the listing's first page has."""
    page = next(limit_rows(source.tables(storage), spec.limit), None)
    if page is None:
        raise SpecError("the input has no row to label")
    fetched = fetch_images(
        storage, page.slice(0, _TRIED_OBJECTS), threads=1, image_column=spec.image_column
    )
    results = [result for _, result in fetched]
    denied = [x for x in results if isinstance(x, FetchError) and x.kind == "access_denied"]
    if len(denied) == len(results):
        raise SpecError(f"the input can be listed but not read: {denied[0]}")
    return int(page.num_rows)


def _choose_gpus(spec: JobSpec, resources: Resources) -> float:
    if spec.num_gpus is None:
        return 1.0 if resources.gpus and spec.runtime != "openvino" else 0.0
    if spec.num_gpus and spec.runtime == "openvino":
        raise SpecError("--num-gpus: the openvino runtime runs on CPUs; use --runtime torch")
    if spec.num_gpus > resources.gpus:
        raise SpecError(
            f"--num-gpus {spec.num_gpus:g}: the cluster has {resources.gpus} GPUs in all"
        )
    return spec.num_gpus


@contextmanager
def _as_spec_errors() -> Iterator[None]:
    try:
        yield
    except (ModelError, FetchError) as exc:
        raise SpecError(str(exc)) from exc
