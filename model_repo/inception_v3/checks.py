"""Precision checks: how a lower precision did beside fp32, as it is kept beside the weights.

`model.safetensors.precision.json` holds those of `model.safetensors`: a list of objects with the
fields of `PrecisionCheck`.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from model_repo.inception_v3.errors import RepositoryError
from model_repo.inception_v3.options import RuntimeOptions
from model_repo.inception_v3.spec import ModelSpec

CHECKS_SUFFIX = ".precision.json"
NO_CHECKS = b"[]"
THRESHOLD = 0.995  # of top-1, for `auto` to use a precision
MIN_IMAGES = 200  # with fewer, a single image is more than the threshold leaves


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionCheck:
    """One comparison with fp32.

    Attributes:
        precision, runtime, device: what was compared, in the words of `RuntimeOptions`.
        hardware: the processor's name.
        model: `name:version`.
        weights_sha256, labels_and_config: what it was taken with; it says nothing of others.
        images: that were compared; `skipped` could not be decoded or read.
        top1_kept, top5_overlap, largest_change: as in `Agreement`.
        cpu_ms, fp32_cpu_ms: CPU time of the forward pass, ms per image.
        images_per_s, fp32_images_per_s: of the forward pass alone.
        checked_at: date and time, ISO 8601.
    """

    precision: str
    runtime: str
    device: str
    hardware: str
    model: str
    weights_sha256: str
    labels_and_config: str
    images: int
    skipped: int
    top1_kept: float
    top5_overlap: float
    largest_change: float
    cpu_ms: float
    fp32_cpu_ms: float
    images_per_s: float
    fp32_images_per_s: float
    checked_at: str

    @property
    def is_conclusive(self) -> bool:
        """Whether there were enough images to decide anything."""
        return self.images >= MIN_IMAGES

    @property
    def shortfall(self) -> str | None:
        """Say why it is not passed; None where it is."""
        if not self.is_conclusive:
            return f"fewer than {MIN_IMAGES} images"
        return None if self.top1_kept >= THRESHOLD else f"less than {percent(THRESHOLD)}"

    @property
    def passed(self) -> bool:
        """Whether `auto` may use this precision."""
        return self.shortfall is None

    def fits(self, options: RuntimeOptions, spec: ModelSpec, weights_sha256: str) -> bool:
        """Say whether it was taken with this model, these weights and these resolved options."""
        how = (options.precision, options.runtime, options.device)
        return _kind(self) == how and _subject(self) == (weights_sha256, spec.fingerprint)

    def describe(self) -> str:
        """Say in a few words what was kept."""
        kept = f"{self.precision} kept {percent(self.top1_kept)} of top-1"
        return f"{kept} on {self.images:,} images (checked {self.checked_at[:10]})"


def percent(share: float) -> str:
    """Write a share (0..1), rounded down: what falls short of a threshold must not look like it."""
    return f"{math.floor(share * 1000 + 1e-6) / 10:.1f} %"


def parse_checks(data: bytes | str, name: str) -> tuple[PrecisionCheck, ...]:
    """Read the checks of one checkpoint; `name` is for the message. Unknown fields are ignored.

    Raises:
        RepositoryError: these are no checks.
    """
    known = {field.name for field in fields(PrecisionCheck)}
    try:
        return tuple(
            PrecisionCheck(**{key: value for key, value in entry.items() if key in known})
            for entry in json.loads(data)
        )
    except (ValueError, TypeError, AttributeError) as exc:
        raise RepositoryError(
            f"{name} is damaged ({exc}); delete it, and repeat 'labelmill models check'"
        ) from exc


def read_checks(checkpoint: Path) -> bytes:
    """Read what lies beside a checkpoint on this machine; there may be nothing.

    Raises:
        OSError: it cannot be read.
    """
    path = checkpoint.with_name(checkpoint.name + CHECKS_SUFFIX)
    return path.read_bytes() if path.is_file() else NO_CHECKS


def format_checks(before: Iterable[PrecisionCheck], check: PrecisionCheck) -> bytes:
    """Return the file's content with one more check; what it replaces or outdates is left out."""
    kept = [x for x in before if _subject(x) == _subject(check) and _kind(x) != _kind(check)]
    return json.dumps([asdict(one) for one in [*kept, check]], indent=2).encode()


def _subject(check: PrecisionCheck) -> tuple[str, str]:
    return check.weights_sha256, check.labels_and_config


def _kind(check: PrecisionCheck) -> tuple[str, str, str]:
    return check.precision, check.runtime, check.device
