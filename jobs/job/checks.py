"""Checks before any work: what can be known to go wrong is said now, in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa

from jobs.dataset.layout import Layout
from jobs.errors import FetchError, SpecError
from jobs.inputs import Source, open_source
from jobs.inputs.fetch import fetch_images
from jobs.inputs.rows import limit_rows
from jobs.job.apart import check_apart, check_links
from jobs.job.model import find_model, model_source
from jobs.job.spec import JobSpec
from jobs.storage import NoBucketError, Storage, leaving_no_folders, resolve_uri
from model_repo.inception_v3 import Model, ModelError, Weights
from model_repo.inception_v3.postprocess import choose_top_k

# So many objects are tried before "may list, may not read" is said of the whole input.
_TRIED_OBJECTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A spec, with absolute paths, whose input, output and model are there.

    Attributes:
        first_rows: how many rows the listing's first page has.
        warning: what may be wrong, though the job can run.
    """

    spec: JobSpec
    source: Source
    first_rows: int
    model: Model
    weights: Weights
    warning: str | None = None


def check_job(spec: JobSpec, storage: Storage) -> Checked:
    """Check everything that needs no cluster; nothing stays written.

    Raises:
        SpecError: what was asked for cannot be done.
        JobError: the storage fails.
    """
    spec = with_absolute_paths(spec)
    layout = Layout.of(spec.output)
    if spec.output:  # a plan may do without
        check_apart(spec.input, layout)
    source = open_source(
        spec.input, storage, image_column=spec.image_column, input_format=spec.input_format
    )
    source = replace(source, names=spec.names)
    page = next(limit_rows(source.tables(storage), spec.limit), None)
    if page is None:
        raise SpecError("the input has no row to label")
    if spec.output and source.kind == "objects":
        check_links(spec.input, page.column("location").to_pylist(), layout)
    warning = _try_to_read(page.slice(0, _TRIED_OBJECTS), spec, storage)
    if spec.output:
        _check_writable(layout, storage)
    with as_spec_errors():
        model, weights = find_model(model_source(spec), storage)
    top_k_of(spec, model)
    return Checked(
        spec=spec,
        source=source,
        first_rows=page.num_rows,
        model=model,
        weights=weights,
        warning=warning,
    )


def with_absolute_paths(spec: JobSpec) -> JobSpec:
    """Make local paths mean the same in every process, whatever its current folder."""
    source = model_source(spec)
    paths = {name: getattr(source, name) for name in ("model_repository", "weights", "labels")}
    return spec.model_copy(update={"input": resolve_uri(spec.input), **paths})


@contextmanager
def as_spec_errors() -> Iterator[None]:
    """Blame the spec for a model that cannot be found, or an option that it cannot have."""
    try:
        yield
    except (ModelError, FetchError) as exc:
        raise SpecError(str(exc)) from exc


def top_k_of(spec: JobSpec, model: Model) -> int:
    """Return how many labels each image gets.

    Raises:
        SpecError: more were asked for than the model has classes.
    """
    asked = spec.top_k if "top_k" in spec.model_fields_set else None
    try:
        return choose_top_k(asked, model.spec)
    except ModelError as exc:
        raise SpecError(f"--top-k: {exc}") from exc


def _check_writable(layout: Layout, storage: Storage) -> None:
    try:
        storage.check_bucket(layout.root)
        with leaving_no_folders(layout.probe):
            storage.write(layout.probe, b"labelmill")
            storage.delete([layout.probe])
    except NoBucketError as exc:
        raise SpecError(f"output {layout.root} cannot be written: {exc}") from exc


def _try_to_read(objects: pa.Table, spec: JobSpec, storage: Storage) -> str | None:
    """Try to read some objects; say so if none of them can be read."""
    fetched = fetch_images(storage, objects, threads=1, image_column=spec.image_column)
    failed = [result for _, result in fetched if isinstance(result, FetchError)]
    if len(failed) < objects.num_rows:
        return None
    if all(x.kind == "access_denied" for x in failed):
        raise SpecError(f"the input can be listed but not read: {failed[0]}")
    tried = "the first object" if len(failed) == 1 else f"none of the first {len(failed)} objects"
    return f"{tried} can{'not' if len(failed) == 1 else ''} be read: {failed[0]}"
