"""`labelmill models check`: which of fp32's labels a lower precision keeps, on the user's images.

list → draw some → fetch → decode → both networks → compare
"""

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.errors import JobError, SpecError
from jobs.inputs import OBJECT_SCHEMA, open_source
from jobs.inputs.sample import draw_sample
from jobs.job.checks import as_spec_errors
from jobs.job.inference import InferenceSpec
from jobs.job.model import find_model, load_classifier, model_source
from jobs.job.resolve import resolve_inference
from jobs.job.spec import JobSpec
from jobs.labelling.child_reader import read_isolated
from jobs.labelling.stages import batch_images
from jobs.labelling.summary import Summary
from jobs.progress import JobProgress
from jobs.resources import count_cores
from jobs.storage import Storage, resolve_uri
from model_repo.inception_v3 import Classifier, ModelError, RuntimeOptions
from model_repo.inception_v3.agreement import Agreement, compare
from model_repo.inception_v3.classifier import device_name, is_native
from model_repo.inception_v3.spec import Pixels, Precision

THRESHOLD = 0.995  # of the images must keep their label
MIN_IMAGES = 200  # with fewer, a single image is more than the threshold allows

# The precision to compare with fp32. On GPUs bf16 is no faster than fp16, and further from fp32.
_LOWER: dict[str, Precision] = {"cpu": "bf16", "cuda": "fp16"}
_EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One comparison with fp32.

    Attributes:
        precision, runtime, device: what was compared, in the words of `RuntimeOptions`.
        hardware: the processor's name.
        model: `name:version`.
        images: how many were compared; `skipped` could not be read or decoded.
        top1_kept, top5_overlap, largest_change: as in `Agreement`.
        cpu_ms, fp32_cpu_ms: CPU time of the forward pass, ms per image.
        images_per_s, fp32_images_per_s: of the forward pass alone.
    """

    precision: str
    runtime: str
    device: str
    hardware: str
    model: str
    weights_sha256: str
    images: int
    skipped: int
    top1_kept: float
    top5_overlap: float
    largest_change: float
    cpu_ms: float
    fp32_cpu_ms: float
    images_per_s: float
    fp32_images_per_s: float

    @property
    def shortfall(self) -> str | None:
        """Say why the check did not pass; None where it did."""
        if self.images < MIN_IMAGES:
            return f"fewer than {MIN_IMAGES} images"
        return None if self.top1_kept >= THRESHOLD else f"less than {THRESHOLD:.1%} of labels kept"

    @property
    def passed(self) -> bool:
        """Say whether the lower precision keeps enough labels of enough images."""
        return self.shortfall is None

    @property
    def recommended(self) -> str:
        """Return the precision to use."""
        return self.precision if self.passed else "fp32"

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON, with the option to use."""
        verdict = {"state": "checked", "passed": self.passed, "threshold": THRESHOLD}
        return {**verdict, **asdict(self), "recommended": self.recommended}


def check_precision(spec: JobSpec, *, limit: int) -> Checked:
    """Compare `spec.precision` with fp32 on images of `spec.input`.

    Args:
        spec: needs no output; without a precision, the one that suits the device is compared.
        limit: images to draw, spread evenly over the listing.

    Raises:
        SpecError: the input, the model or the precision is not available here.
        JobError: no image could be used, or the storage failed.
    """
    storage = Storage()
    with JobProgress() as progress:
        progress.say("checking")
        source = open_source(
            resolve_uri(spec.input),
            storage,
            image_column=spec.image_column,
            input_format=spec.input_format,
        )
        source = replace(source, names=spec.names)
        full, lower = _resolve(spec, storage)
        objects = OBJECT_SCHEMA.empty_table()
        for sample in draw_sample(source.tables(storage), limit):
            objects = sample.rows
        networks = [_Timed(_load(x, storage)) for x in (full, lower)]
        agreement = _compare(objects, full, networks, progress)
    if not agreement.images:
        raise JobError(f"none of {objects.num_rows:,} objects of {spec.input} could be used")
    return _conclude(lower, agreement, objects.num_rows, *networks)


@dataclass(slots=True)
class _Timed:
    """A classifier that counts what its forward passes take."""

    classifier: Classifier
    images: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    sizes: set[int] = field(default_factory=set)

    def logits(self, pixels: Pixels) -> npt.NDArray[np.float32]:
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


def _resolve(spec: JobSpec, storage: Storage) -> tuple[InferenceSpec, InferenceSpec]:
    """Return how the network runs in fp32, and in the other precision."""
    with as_spec_errors():
        on_gpu = RuntimeOptions(runtime=spec.runtime).resolve().device == "cuda"
        model, weights = find_model(model_source(spec), storage)
    full, lower = (
        resolve_inference(spec.model_copy(update={"precision": x}), model, weights, on_gpu=on_gpu)
        for x in ("fp32", spec.precision or _LOWER["cuda" if on_gpu else "cpu"])
    )
    if not is_native(lower.options):
        raise SpecError(
            f"this machine's CPU does not compute in {lower.options.precision} (that takes "
            "avx512_bf16 or amx), so there is nothing to gain here, and a check would say nothing "
            "about others; run it on a machine that does"
        )
    return full, lower


def _load(inference: InferenceSpec, storage: Storage) -> Classifier:
    options = replace(inference.options, threads=count_cores())
    try:
        return load_classifier(replace(inference, options=options), storage)
    except ModelError as exc:
        raise JobError(str(exc)) from exc


def _compare(
    objects: pa.Table, inference: InferenceSpec, networks: Iterable[_Timed], progress: JobProgress
) -> Agreement:
    """Run both networks on every image, in turns, batch by batch."""
    agreement, skipped = Agreement(), 0
    progress.resume(0, objects.num_rows)
    # In a process of its own, decoding cannot blur what the networks take here.
    images = read_isolated(objects, inference)
    for rows, pixels in batch_images(images, inference.batch_size, inference.model.crop_size):
        began = time.monotonic()
        if len(pixels):
            agreement += compare(*(network.logits(pixels) for network in networks))
        failed = [row for row in rows if row.error_kind]
        for row in failed[: max(0, _EXAMPLES - skipped)]:
            progress.note(f"skipped {objects.column('uri')[row.index].as_py()}: {row.error}")
        skipped += len(failed)
        seconds = time.monotonic() - began
        progress.advance(Summary(objects=len(rows), errors=len(failed), seconds=seconds))
    return agreement


def _conclude(
    lower: InferenceSpec, agreement: Agreement, drawn: int, full: _Timed, other: _Timed
) -> Checked:
    return Checked(
        precision=lower.options.precision,
        runtime=lower.options.runtime,
        device=lower.options.device,
        hardware=device_name(lower.options),
        model=f"{lower.model.name}:{lower.model.version}",
        weights_sha256=lower.weights_sha256,
        images=agreement.images,
        skipped=drawn - agreement.images,
        top1_kept=agreement.top1_kept,
        top5_overlap=agreement.top5_overlap,
        largest_change=agreement.largest_change,
        cpu_ms=1000 * other.cpu_s / other.images,
        fp32_cpu_ms=1000 * full.cpu_s / full.images,
        images_per_s=other.images / other.wall_s,
        fp32_images_per_s=full.images / full.wall_s,
    )
