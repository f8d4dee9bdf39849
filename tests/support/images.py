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


def tiff(
    samples: np.ndarray, photometric: int, order: str = "<", extra: int | None = None
) -> bytes:
    """Write an uncompressed TIFF.

    Args:
        samples: [H, W, channels] of any unsigned, signed or float type.
        photometric: 0 white is zero, 1 black is zero, 2 RGB.
        order: `<` little endian, `>` big endian.
        extra: what the last channel is: 1 premultiplied alpha, 2 alpha; None for a color.
    """
    height, width, channels = samples.shape
    body = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    bits = samples.dtype.itemsize * 8
    sample_format = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    tags: dict[int, list[int]] = {
        256: [width],
        257: [height],
        258: [bits] * channels,
        259: [1],
        262: [photometric],
        273: [8],
        277: [channels],
        278: [height],
        279: [len(body)],
        339: [sample_format] * channels,
    }
    if extra is not None:
        tags[338] = [extra]
    directory = 8 + len(body)
    overflow = directory + 2 + 12 * len(tags) + 4
    entries, tail = b"", b""
    for tag, values in sorted(tags.items()):
        kind, letter = (
            (4, "I") if len(values) == 1 and tag in (256, 257, 273, 278, 279) else (3, "H")
        )
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > 4:
            value = struct.pack(order + "I", overflow + len(tail))
            tail += packed
        else:
            value = packed.ljust(4, b"\0")
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + value
    magic = b"II*\0" if order == "<" else b"MM\0*"
    count = struct.pack(order + "H", len(tags))
    return magic + struct.pack(order + "I", directory) + body + count + entries + bytes(4) + tail
