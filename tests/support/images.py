"""Small images in every disguise, made here: nothing is read from disk or fetched."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

ORIENTATION = 0x0112


def photo(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Return uint8 [height, width, 3] with a photo's ingredients: gradients, shapes and noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = 128 + 100 * np.sin(x / width * 5 + y / height * 3)
    array = np.stack([waves, 255 * y / height, 255 * x / width], axis=-1)
    for _ in range(12):
        center_x, center_y = random.random() * width, random.random() * height
        radius = 1 + random.random() * min(width, height) / 4
        disc = (x - center_x) ** 2 + (y - center_y) ** 2 < radius**2
        array[disc] = random.integers(0, 255, 3)
    return np.clip(array + random.normal(0, 8, array.shape), 0, 255).astype(np.uint8)


def encode(image: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    """Encode with Pillow; `orientation=` writes an EXIF block."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    orientation = options.pop("orientation", None)
    if orientation is not None:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        options["exif"] = exif
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_exif(jpeg: bytes, block: bytes) -> bytes:
    """Put an APP1 segment, damaged or not, at the start of a JPEG."""
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int, bits: int = 8, color: int = 2) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", body)


def png(samples: np.ndarray, bits: int, color: int, transparency: bytes = b"") -> bytes:
    """Write a PNG of any depth.

    Args:
        samples: [H, W, channels]; depths below 8 have one channel.
        color: PNG's color type: 0 gray, 2 RGB, 4 gray and alpha, 6 RGBA.
        transparency: body of the tRNS chunk.
    """
    height, width, _ = samples.shape
    if bits < 8:
        shifts = np.arange(bits)[::-1]
        unpacked = (samples.reshape(height, width, 1) >> shifts & 1).reshape(height, -1)
        rows = np.packbits(unpacked.astype(np.uint8), axis=1)
    else:
        rows = samples.astype(">u2" if bits == 16 else "u1")
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    extra = png_chunk(b"tRNS", transparency) if transparency else b""
    data = png_chunk(b"IDAT", zlib.compress(body, 1))
    return png_header(width, height, bits, color) + extra + data + png_chunk(b"IEND", b"")
