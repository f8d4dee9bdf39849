"""Decoding to 299 x 299 by path and image size, on one core.

"reference" is Pillow with torchvision's preset, as it was trained with; "torchvision" its newer
functions, `decode_jpeg` and a resize of uint8 tensors; "ours" is `preprocess`.
"""

import functools
import io
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torchvision.io import decode_jpeg
from torchvision.models import Inception_V3_Weights
from torchvision.transforms import v2

from model_repo.inception_v3 import preprocess
from tests.benchmarks.harness import Figures, Report, interleave, measure_cpu
from tests.benchmarks.images import make_phone_photo, make_photo

COLUMNS = {
    "cpu_ms": "CPU ms per image",
    "images_per_s": "images/s per core",
    "of_reference": "÷ reference",
}


def measure(*, quick: bool) -> list[Report]:
    torch.set_num_threads(1)
    different, repeats = (2, 1) if quick else (4, 5)
    seeds = range(different)
    # About as long for each: how often the photos are decoded in one round, and the photos.
    photos = {
        "500 x 375": (25, [make_photo(500, 375, seed) for seed in seeds]),
        "1200 x 900": (5, [make_photo(1200, 900, seed) for seed in seeds]),
        "12 megapixels": (1, [make_phone_photo(seed) for seed in seeds]),
    }
    cases: dict[str, Callable[[], Figures]] = {}
    for size, (times, some) in photos.items():
        for name, path in _paths().items():
            cases[f"{size}, {name}"] = functools.partial(_measure, path, some * times)
    runs = interleave(cases, repeats=repeats, warmups=1)
    for size in photos:
        for name in _paths():
            figures = zip(runs[f"{size}, {name}"], runs[f"{size}, reference"], strict=True)
            for run, reference in figures:
                run["of_reference"] = run["images_per_s"] / reference["images_per_s"]
    title = "Decoding to 299 x 299, one core"
    report = Report(name="decode", title=title, columns=COLUMNS, settings={"repeats": repeats})
    report.add(runs)
    return [report]


def _measure(path: Callable[[bytes], Any], photos: list[bytes]) -> Figures:
    cpu_ms = measure_cpu(path, photos)["cpu_ms"]
    return {"cpu_ms": cpu_ms, "images_per_s": 1000 / cpu_ms}


def _paths() -> dict[str, Callable[[bytes], Any]]:
    preset = Inception_V3_Weights.IMAGENET1K_V1.transforms()
    resize = v2.Compose([v2.Resize(342, antialias=True), v2.CenterCrop(299)])

    def reference(data: bytes) -> Any:
        return preset(Image.open(io.BytesIO(data)).convert("RGB"))

    def torchvision(data: bytes) -> Any:
        return resize(decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8)))

    return {"reference": reference, "torchvision": torchvision, "ours": preprocess}
