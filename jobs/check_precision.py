"""`labelmill models check`: what a lower precision keeps of fp32's labels, on the user's images.

list → draw some → fetch → decode → both networks → compare → a file beside the weights
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.errors import JobError, SpecError, StorageError
from jobs.inputs import OBJECT_SCHEMA, open_source
from jobs.inputs.sample import draw_sample
from jobs.job.job import Plan, Resources
from jobs.job.model import find_model, with_absolute_paths
from jobs.job.resolve import resolve_plan
from jobs.job.spec import JobSpec
from jobs.labelling.child_reader import read_carefully
from jobs.labelling.decode import Image, Pixels
from jobs.listing.chunks import Summary
from jobs.progress import JobProgress
from jobs.resources import count_cores
from jobs.storage import Storage
from model_repo.inception_v3 import Classifier, ModelError, RuntimeOptions, Weights
from model_repo.inception_v3.agreement import Agreement, compare
from model_repo.inception_v3.checks import THRESHOLD, PrecisionCheck, format_checks, percent
from model_repo.inception_v3.classifier import device_name
from model_repo.inception_v3.precision import LOWER, is_native

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check, and where it is kept.

    Attributes:
        check: the comparison.
        written: the file beside the weights; None where there is none.
        reason: why there is none.
        failed: whether there should be one.
    """

    check: PrecisionCheck
    written: str | None
    reason: str | None = None
    failed: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """Return it all as JSON."""
        return {
            "state": "checked",
            "passed": self.check.passed,
            "threshold": THRESHOLD,
            **asdict(self.check),
            "written": self.written,
            "not_written": self.reason,
        }

    def describe(self) -> str:
        """Say it in some lines."""
        check = self.check
        fate = f"not passed: {check.shortfall}" if check.shortfall else "passed"
        lines = {
            "model": f"{check.model}, {check.weights_sha256}",
            "runtime": f"{check.runtime} on {check.hardware}",
            "images": f"{check.images:,}, {check.skipped:,} skipped",
            "top-1 kept": percent(check.top1_kept),
            "top-5 overlap": percent(check.top5_overlap),
            "largest score change": f"{check.largest_change:.4f}",
            "fp32": f"{check.fp32_images_per_s:.1f} images/s, {check.fp32_cpu_ms:.1f} CPU-ms each",
            check.precision: f"{check.images_per_s:.1f} images/s, {check.cpu_ms:.1f} CPU-ms each",
            "result": fate,
            "written": self.written or f"no: {self.reason}",
        }
        return "\n".join(f"{name:22}{value}" for name, value in lines.items())


def check_precision(spec: JobSpec, *, limit: int) -> Checked:
    """Compare `spec.precision` with fp32 on images of `spec.input`, and keep the result.

    Args:
        spec: input, model, runtime and the lower precision (`auto`: the one that jobs might use);
            it needs no output.
        limit: images to draw, spread evenly over the listing.

    Raises:
        SpecError: the input, the model or the precision is not to be had here.
        JobError: no image could be used, or the storage failed.
    """
    storage = Storage()
    with JobProgress() as progress:
        progress.say("checking")
        plan, lower = _make_plan(spec, storage)
        samples = deque(draw_sample(plan.source.tables(storage), limit), maxlen=1)
        objects = samples[0].rows if samples else OBJECT_SCHEMA.empty_table()
        model, weights = find_model(plan.spec, storage)
        try:
            networks = [_Timed(Classifier.load(model, weights, x)) for x in (plan.options, lower)]
        except ModelError as exc:
            raise JobError(str(exc)) from exc
        agreement = _compare(objects, plan, networks, progress)
    if not agreement.images:
        raise JobError(f"none of {objects.num_rows:,} objects of {spec.input} could be used")
    check = _to_check(plan, lower, agreement, objects.num_rows, networks)
    return keep_check(check, weights, storage)


@dataclass(slots=True)
class _Timed:
    """A classifier that counts what its forward passes take."""

    classifier: Classifier
    images: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    sizes: set[int] = field(default_factory=set)

    def logits(self, pixels: Pixels) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return logits, float32 [N, classes], of uint8 [N, 3, crop, crop]."""
        if len(pixels) not in self.sizes:  # the first pass of a size compiles; it does not count
            self.classifier.predict(pixels)
            self.sizes.add(len(pixels))
        wall, cpu = time.perf_counter(), time.process_time()
        logits = self.classifier.predict(pixels).logits
        self.cpu_s += time.process_time() - cpu
        self.wall_s += time.perf_counter() - wall
        self.images += len(pixels)
        return logits


def _make_plan(spec: JobSpec, storage: Storage) -> tuple[Plan, RuntimeOptions]:
    """Resolve a job in fp32 that writes nothing, and the options of the other precision.

    Raises:
        SpecError: it cannot be done here.
    """
    precision = spec.precision
    spec = with_absolute_paths(spec).model_copy(update={"precision": "fp32"})
    source = open_source(spec.input, storage, image_column=spec.image_column)
    cpus = count_cores()
    try:
        device = RuntimeOptions(runtime=spec.runtime).resolve().device
        precision = LOWER[device] if precision == "auto" else precision
        resources = Resources(cpus=cpus, gpus=int(device == "cuda"))
        plan = resolve_plan(spec, source, storage, resources, first_rows=1)
        plan = replace(plan, options=replace(plan.options, threads=cpus))
        lower = replace(plan.options, precision=precision).resolve()
    except ModelError as exc:
        raise SpecError(str(exc)) from exc
    if not is_native(lower):
        raise SpecError(
            f"this machine's CPU does not compute in {precision} (that takes avx512_bf16 or amx), "
            "so there is nothing to gain here, and a check would say nothing of others; run it on "
            "a machine that does"
        )
    return plan, lower


def _compare(
    objects: pa.Table, plan: Plan, networks: list[_Timed], progress: JobProgress
) -> Agreement:
    """Run both networks on every image, batch by batch in turn."""
    agreement, skipped = Agreement(), 0
    # In a process of its own, decoding cannot blur what the networks take here.
    for images in _batches(read_carefully(objects, plan), plan.batch_size):
        began = time.monotonic()
        pixels = [image.pixels for image in images if image.pixels is not None]
        if pixels:
            first, second = (network.logits(np.stack(pixels)) for network in networks)
            agreement += compare(first, second)
        failed = [image.row for image in images if image.pixels is None]
        for row in failed[: max(0, _EXAMPLES - skipped)]:
            progress.note(f"skipped {objects.column('uri')[row.index].as_py()}: {row.error}")
        skipped += len(failed)
        seconds = time.monotonic() - began
        progress.advance(Summary(len(images), len(failed), len(failed), seconds, objects.num_rows))
    return agreement


def _batches(images: Iterable[Image], size: int) -> Iterator[list[Image]]:
    """Cut into lists that have `size` images with pixels, but for the last."""
    batch: list[Image] = []
    usable = 0
    for image in images:
        batch.append(image)
        usable += image.pixels is not None
        if usable == size:
            yield batch
            batch, usable = [], 0
    if batch:
        yield batch


def _to_check(
    plan: Plan, lower: RuntimeOptions, agreement: Agreement, drawn: int, networks: list[_Timed]
) -> PrecisionCheck:
    full, other = networks
    return PrecisionCheck(
        precision=lower.precision,
        runtime=lower.runtime,
        device=lower.device,
        hardware=device_name(lower),
        model=f"{plan.model.name}:{plan.model.version}",
        weights_sha256=plan.weights_sha256,
        labels_and_config=plan.model.fingerprint,
        images=agreement.images,
        skipped=drawn - agreement.images,
        top1_kept=agreement.top1_kept,
        top5_overlap=agreement.top5_overlap,
        largest_change=agreement.largest_change,
        cpu_ms=1000 * other.cpu_s / other.images,
        fp32_cpu_ms=1000 * full.cpu_s / full.images,
        images_per_s=other.images / other.wall_s,
        fp32_images_per_s=full.images / full.wall_s,
        checked_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def keep_check(check: PrecisionCheck, weights: Weights, storage: Storage) -> Checked:
    """Write the check beside the weights."""
    uri = weights.checks_uri
    if uri is None:
        return Checked(
            check, None, "untrained weights are for trials, and their labels mean nothing"
        )
    try:
        storage.write(uri, format_checks(weights.checks, check))
    except StorageError as exc:
        reason = f"{exc}; so '--precision auto' does not know of this check"
        return Checked(check, None, reason, failed=True)
    return Checked(check, uri)
