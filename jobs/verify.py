"""Whether a dataset is what its job says: the accounts, and a sample that is labelled again."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.commit.audit import Counts, balance, run_here
from jobs.commit.generation import is_done
from jobs.commit.record import read_record
from jobs.dataset.layout import Layout
from jobs.dataset.parquet import data_files, group_sizes, read_groups
from jobs.dataset.schema import IMAGE_FAULTS, NOT_AN_IMAGE, Row
from jobs.digests import digest, digest_uris, find
from jobs.errors import JobError, SpecError
from jobs.inputs import OBJECT_SCHEMA
from jobs.job.checks import as_spec_errors
from jobs.job.continuity import differences, what_decides_predictions
from jobs.job.inference import InferenceSpec
from jobs.job.model import find_model, load_classifier, model_source
from jobs.job.resolve import resolve_inference
from jobs.job.spec import JobSpec
from jobs.labelling.child_reader import read_isolated
from jobs.labelling.stages import batch_images, predict_images
from jobs.listing.manifest import read_manifests
from jobs.storage import Storage
from model_repo.inception_v3 import Classifier
from model_repo.inception_v3.postprocess import Prediction

# Scores depend a little on which images share a batch, and on the machine.
_TOLERANCE, _TOLERANCE_OF_OTHER_PRECISION = 1e-3, 2e-2
_COMPARED = ("uri", "etag", "label", "labels", "error_kind")
_COME_AGAIN = (None, *IMAGE_FAULTS, NOT_AN_IMAGE)
_AT_ONCE = 256  # each has a score for every class
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found to be right.

    Attributes:
        same: how many sampled rows came out the same again.
        changed: how many have an object that has changed or gone since, or cannot be compared.
    """

    output: str
    counts: Counts
    same: int
    changed: int


def verify(output: str, *, sample: int) -> Verified:
    """Check the accounts of a dataset, and label a `sample` of its objects again.

    Raises:
        SpecError: there is no dataset, or its model cannot be found here.
        JobError: the job is not done, the accounts do not balance, or a row comes out differently.
    """
    storage = Storage()
    layout = Layout.of(output)
    record = read_record(storage, layout)
    if record is None:
        raise SpecError(
            f"{layout.root} is not a predictions dataset: it has no _labelmill/job.json"
        )
    if not is_done(record, layout, storage):
        raise JobError(f"the job of {layout.root} is not done; run its command again to finish it")
    layout = replace(layout, generation=record["generation"])
    counts = balance(layout, storage, run_here)
    for name in ("listed", "ok", "errors"):
        recorded, found = record["counts"][name], getattr(counts, name)
        if recorded != found:
            raise JobError(
                f"{layout.job} says {name} {recorded}, but the files hold {found}; they were "
                "changed after the job was done"
            )
    rows = {row["uri"]: row for row in _pick_rows(layout, storage, sample)}
    same, changed = _label_again(rows, record, layout, storage) if rows else (0, 0)
    return Verified(layout.root, counts, same, changed)


def _pick_rows(layout: Layout, storage: Storage, count: int) -> Iterator[dict[str, Any]]:
    """Yield rows chosen at random, with the columns that can be compared."""
    files = data_files(layout, storage) if count else []
    sizes = [(x, i, rows) for x in files for i, rows in enumerate(group_sizes(storage, x))]
    total = sum(rows for *_, rows in sizes)
    picks = np.array(sorted(random.sample(range(total), min(count, total))), np.int64)
    start = 0
    for uri, group, rows in sizes:
        here = picks[(picks >= start) & (picks < start + rows)] - start
        start += rows
        if len(here):
            (table,) = read_groups(storage, uri, _COMPARED, groups=[group])
            yield from table.take(here).to_pylist()


def _label_again(
    rows: dict[str, dict[str, Any]], record: dict[str, Any], layout: Layout, storage: Storage
) -> tuple[int, int]:
    """Label the rows' objects again and compare; return how many are the same, and changed."""
    inference, tolerance = _recorded_inference(record, storage)
    classifier = load_classifier(inference, storage)
    objects = _find_objects(rows, layout, storage)
    same, changed, different = 0, 0, list[str]()
    for uri, row, prediction in _predict_again(objects, classifier, inference):
        before = rows[uri]
        if before["etag"] != row.etag or row.error_kind not in _COME_AGAIN:
            changed += 1
        elif difference := _compare(before, row.error_kind, prediction, tolerance):
            different.append(f"{uri} {difference}")
        else:
            same += 1
    if different:
        raise JobError(
            f"{len(different)} of {len(rows)} rows of {layout.root} come out differently when "
            f"labelled again: {'; '.join(different[:_EXAMPLES])}"
        )
    return same, changed


def _predict_again(
    objects: pa.Table, classifier: Classifier, inference: InferenceSpec
) -> Iterator[tuple[str, Row, Prediction | None]]:
    """Yield uri, row and prediction of each object; a child reads them, as one may crash it."""
    for start in range(0, objects.num_rows, _AT_ONCE):
        some = objects.slice(start, _AT_ONCE)
        images = read_isolated(some, inference)
        batches = batch_images(images, inference.batch_size, inference.model.crop_size)
        rows, predicted = predict_images(classifier, batches, inference.top_k)
        predictions = iter(predicted.predictions)
        for row in rows:
            uri = some.column("uri")[row.index].as_py()
            yield uri, row, None if row.error_kind else next(predictions)


def _recorded_inference(record: dict[str, Any], storage: Storage) -> tuple[InferenceSpec, float]:
    """Return how a recorded job predicts, for this process, and the tolerance of its scores.

    What a GPU has labelled is labelled again on the CPU, in full precision.
    """
    recorded = record["rows"]
    on_gpu = bool(record["num_gpus"])
    changes = {
        "top_k": record["num_classes"],
        "emit": ("classification",),
        "precision": "fp32" if on_gpu else recorded["precision"],
        "runtime": "auto" if on_gpu else record["spec"]["runtime"],
    }
    spec = JobSpec.of_record(record["spec"]).model_copy(update=changes)
    with as_spec_errors():
        model, weights = find_model(model_source(spec), storage)
    inference = resolve_inference(spec, model, weights, on_gpu=False)
    now = what_decides_predictions(inference)
    if found := differences(recorded | {"precision": now["precision"]}, now):
        raise SpecError(f"a sample cannot be labelled again: {'; '.join(found)}")
    exact = recorded["precision"] == now["precision"] == "fp32"
    return inference, _TOLERANCE if exact else _TOLERANCE_OF_OTHER_PRECISION


def _find_objects(uris: Iterable[str], layout: Layout, storage: Storage) -> pa.Table:
    """Look up where the objects of some uris lie, as they were listed last."""
    wanted = np.sort(digest(uris))
    found: dict[str, dict[str, Any]] = {}
    for table in read_manifests(storage, layout, OBJECT_SCHEMA.names):
        mask = find(digest_uris(table), wanted)[1]
        found |= {row["uri"]: row for row in table.filter(pa.array(mask)).to_pylist()}
    return pa.Table.from_pylist(list(found.values()), OBJECT_SCHEMA)


def _compare(
    before: dict[str, Any], error_kind: str | None, now: Prediction | None, tolerance: float
) -> str | None:
    """Say how a row differs from what its object gives now; None where it does not."""
    if now is None or before.get("error_kind"):
        was, is_now = before.get("error_kind") or before["label"], error_kind or "labelled"
        return None if was == is_now else f"was {was} and is now {is_now}"
    scores = {x.index: x.score for x in now.labels}
    was = {x["index"]: x["score"] for x in before["labels"]}
    if now.top.score - max(was.values()) <= tolerance and all(
        abs(score - scores[index]) <= tolerance for index, score in was.items()
    ):
        return None
    return f"was {before['label']} and is now {now.top.label} ({now.top.score:.4f})"
