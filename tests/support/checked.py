"""A precision check as it might lie beside weights."""

from typing import Any

from model_repo.inception_v3.checks import PrecisionCheck
from model_repo.inception_v3.spec import ModelSpec


def made_check(spec: ModelSpec, weights_sha256: str, **changes: Any) -> PrecisionCheck:
    """Return a check that was passed: bf16, OpenVINO, on a CPU."""
    values: dict[str, Any] = {
        "precision": "bf16",
        "runtime": "openvino",
        "device": "cpu",
        "hardware": "a CPU",
        "model": f"{spec.name}:{spec.version}",
        "weights_sha256": weights_sha256,
        "labels_and_config": spec.fingerprint,
        "images": 1000,
        "skipped": 2,
        "top1_kept": 0.998,
        "top5_overlap": 0.99,
        "largest_change": 0.02,
        "cpu_ms": 50.0,
        "fp32_cpu_ms": 100.0,
        "images_per_s": 40.0,
        "fp32_images_per_s": 20.0,
        "checked_at": "2026-11-22T10:00:00+00:00",
    }
    return PrecisionCheck(**{**values, **changes})
