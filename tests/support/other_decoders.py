"""What others make of an image: upright, in RGB, on white; None if they do not read it."""

import io
import shutil
import subprocess

import cv2
import numpy as np
from PIL import Image, ImageOps


def _find_imagemagick() -> str | None:
    for name in filter(None, map(shutil.which, ("magick", "convert"))):
        done = subprocess.run([name, "-version"], capture_output=True, check=False)
        if b"ImageMagick" in done.stdout:
            return name
    return None


IMAGEMAGICK = _find_imagemagick()
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def by_pillow(data: bytes) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I;16"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if not image.has_transparency_data:
                return np.asarray(image.convert("RGB"))
            layer = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
            return np.asarray(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer))[
                :, :, :3
            ]
    except Exception:  # whatever the reason, it has no say
        return None


def by_opencv(data: bytes) -> np.ndarray | None:
    raw = np.frombuffer(data, np.uint8)
    try:
        image = cv2.imdecode(raw, cv2.IMREAD_COLOR)
        whole = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if image is None or whole is None:
        return None
    if whole.ndim == 3 and whole.shape[2] == 4 and whole[:, :, 3].any():
        if whole.shape[:2] != image.shape[:2]:
            return None  # turned, which OpenCV does without alpha alone
        alpha = whole[:, :, 3:] / np.iinfo(whole.dtype).max
        image = np.rint(image * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return image[:, :, ::-1]


def by_imagemagick(data: bytes) -> np.ndarray | None:
    assert IMAGEMAGICK
    options = (
        "-auto-orient -background white -alpha remove -colorspace sRGB -type TrueColor -depth 8"
    )
    done = subprocess.run(
        [
            IMAGEMAGICK,
            "-limit",
            "thread",
            "1",
            "-[0]",
            *options.split(),
            "-type",
            "TrueColor",
            "ppm:-",
        ],
        input=data,
        capture_output=True,
        check=False,
        timeout=60,
    )
    if done.returncode or not done.stdout:
        return None
    return np.asarray(Image.open(io.BytesIO(done.stdout)))
