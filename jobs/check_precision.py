"""`labelmill models check`: which of fp32's labels a lower precision keeps, on the user's images.

list → draw some → fetch → decode → both networks → compare
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
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
from jobs.labelling.decode import Image
from jobs.labelling.summary import Summary
from jobs.progress import JobProgress
from jobs.resources import count_cores
from jobs.storage import Storage
from model_repo.inception_v3 import Classifier, ModelError, RuntimeOptions
from model_repo.inception_v3.agreement import Agreement, compare
from model_repo.inception_v3.classifier import device_name, is_native
from model_repo.inception_v3.options import Device
from model_repo.inception_v3.spec import Pixels, Precision

THRESHOLD = 0.995  # of the images must keep their label
MIN_IMAGES = 200  # with fewer, a single image is more than the threshold allows

# The precision to compare with fp32. On GPUs bf16 is no faster than fp16, and further from fp32.
_LOWER: dict[Device, Precision] = {"cpu": "bf16", "cuda": "fp16"}
_EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One comparison with fp32.

    Attributes:
        precision, runtime, device: what was compared, in the words of `RuntimeOptions`.
        hardware: the processor's name.
        model: `name:version`.
        images: that were compared; `skipped` could not be decoded or read.
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
        """Whether the lower precision keeps enough labels of enough images."""
        return self.shortfall is None

    @property
    def recommended(self) -> str:
        """Return the precision to use."""
        return self.precision if self.passed else "fp32"

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON, with the option to use."""
        return {
            "state": "checked",
            "passed": self.passed,
            "threshold": THRESHOLD,
            **asdict(self),
            "recommended": self.recommended,
        }


def check_precision(spec: JobSpec, *, limit: int) -> Checked:
    """Compare `spec.precision` with fp32 on images of `spec.input`.

    Args:
        spec: input, model, runtime and the lower precision (None: the one that suits the device);
            it needs no output.
        limit: images to draw, spread evenly over the listing.

    Raises:
        SpecError: the input, the model or the precision is not available here.
        JobError: no image could be used, or the storage failed.
    """
    storage = Storage()
    with JobProgress() as progress:
        progress.say("checking")
        source = open_source(spec.input, storage, image_column=spec.image_column)
        full, lower = _resolve(spec, storage)
        samples = deque(draw_sample(source.tables(storage), limit), maxlen=1)
        objects = samples[0].rows if samples else OBJECT_SCHEMA.empty_table()
        networks = [_Timed(_load(x, storage)) for x in (full, lower)]
        agreement = _compare(objects, full, networks, progress)
    if not agreement.images:
        raise JobError(f"none of {objects.num_rows:,} objects of {spec.input} could be used")
    return _conclude(lower, agreement, objects.num_rows, networks)


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


def _resolve(spec: JobSpec, storage: Storage) -> tuple[InferenceSpec, InferenceSpec]:
    """Return how the network runs on all cores, in fp32 and in the other precision.

    Raises:
        SpecError: it cannot be done here.
    """
    with as_spec_errors():
        device = RuntimeOptions(runtime=spec.runtime).resolve().device
        model, weights = find_model(model_source(spec), storage)
    full, lower = (
        resolve_inference(
            spec.model_copy(update={"precision": precision}),
            model,
            weights,
            on_gpu=device == "cuda",
        )
        for precision in ("fp32", spec.precision or _LOWER[device])
    )
    if not is_native(lower.options):
        raise SpecError(
            f"this machine's CPU does not compute in {lower.options.precision} (that takes "
            "avx512_bf16 or amx), so there is nothing to gain here, and a check would say nothing "
            "of others; run it on a machine that does"
        )
    return full, lower


def _load(inference: InferenceSpec, storage: Storage) -> Classifier:
    options = replace(inference.options, threads=count_cores())
    try:
        return load_classifier(replace(inference, options=options), storage)
    except ModelError as exc:
        raise JobError(str(exc)) from exc


def _compare(
    objects: pa.Table, inference: InferenceSpec, networks: list[_Timed], progress: JobProgress
) -> Agreement:
    """Run both networks on every image, batch by batch in turn."""
    agreement, skipped = Agreement(), 0
    # In a process of its own, decoding cannot blur what the networks take here.
    for images in _batches(read_isolated(objects, inference), inference.batch_size):
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
        progress.advance(
            Summary(
                objects=len(images),
                errors=len(failed),
                seconds=seconds,
                total=objects.num_rows,
            )
        )
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


def _conclude(
    lower: InferenceSpec, agreement: Agreement, drawn: int, networks: list[_Timed]
) -> Checked:
    full, other = networks
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
