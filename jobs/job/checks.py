"""Checks before any work: what can be known to go wrong is said now, in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from jobs.dataset.layout import Layout
from jobs.errors import FetchError, SpecError
from jobs.inputs import Source, open_source
from jobs.inputs.fetch import fetch_images
from jobs.inputs.globs import has_glob, matches_glob
from jobs.inputs.rows import limit_rows
from jobs.job.model import find_model, model_source
from jobs.job.spec import JobSpec
from jobs.storage import Storage, resolve_uri
from model_repo.inception_v3 import Model, ModelError, Weights

# So many objects are tried before "may list, may not read" is said of the whole input.
_TRIED_OBJECTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A spec, with absolute paths, whose input, output and model are there.

    Attributes:
        first_rows: how many rows the listing's first page has.
    """

    spec: JobSpec
    source: Source
    first_rows: int
    model: Model
    weights: Weights


def check_job(spec: JobSpec, storage: Storage) -> Checked:
    """Check everything that needs no cluster; nothing stays written.

    Raises:
        SpecError: what was asked for cannot be done.
        JobError: the storage fails.
    """
    spec = with_absolute_paths(spec)
    layout = Layout.of(spec.output)
    if spec.output:  # a plan may do without
        _check_apart(spec.input, layout)
    source = open_source(
        spec.input, storage, image_column=spec.image_column, input_format=spec.input_format
    )
    first_rows = _check_readable(spec, source, storage)
    if spec.output:
        storage.write(layout.probe, b"labelmill")
        storage.delete([layout.probe])
    with as_spec_errors():
        model, weights = find_model(model_source(spec), storage)
    return Checked(spec=spec, source=source, first_rows=first_rows, model=model, weights=weights)


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


def _check_apart(input_uri: str, layout: Layout) -> None:
    """Refuse an output inside the input: its own files would be labelled."""
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
    if all(isinstance(x, FetchError) and x.kind == "access_denied" for x in results):
        raise SpecError(f"the input can be listed but not read: {results[0]}")
    return int(page.num_rows)
