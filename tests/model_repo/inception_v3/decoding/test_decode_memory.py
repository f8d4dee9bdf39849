"""How much memory decoding takes at the most, in a fresh process: bounded by `max_pixels` alone."""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support import tiffs
from tests.support.bmps import bmp
from tests.support.images import encode, png, png_chunk, png_header
from tests.support.jpeg import blocky_jpeg, insert, markers

pytestmark = pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak is measured on Linux"
)

WIDTH, HEIGHT = 3000, 2000
MAX_PIXELS = WIDTH * HEIGHT
MAX_BYTES = 12 * MAX_PIXELS + (24 << 20)  # of pixels, and of what does not grow with them
# Their decoders keep the planes, or 32 bits of each sample, until the end.
MORE_BYTES = {"RGBA AVIF": 4 * MAX_PIXELS, "JPEG 2000 in one tile": 14 * MAX_PIXELS}

# Decodes files one by one; prints the peak of each above what was taken before.
MEASURE = """
import json, sys
from model_repo.inception_v3.decoding.decode import decode_image
from model_repo.inception_v3.errors import DecodeError

def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(key))

def measure(path, max_pixels):
    data = open(path, "rb").read()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before, outcome = status("VmRSS"), "ok"
    try:
        decode_image(data, max_pixels=max_pixels)
    except DecodeError as exc:
        outcome = exc.kind
    return outcome, status("VmHWM") - before

print(json.dumps({path: measure(path, int(sys.argv[1])) for path in sys.argv[2:]}))
"""


def tiff(width, height, part_tags, data):
    """Write an RGB TIFF, compressed by deflate; `part_tags` say how it is cut."""
    shorts = {258: 8, 259: 8, 262: 2, 277: 3}
    longs = {256: width, 257: height} | part_tags
    entries = [(tag, 3, 1, value) for tag, value in shorts.items()]
    entries += [
        (tag, 4, *(value if isinstance(value, tuple) else (1, value)))
        for tag, value in longs.items()
    ]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    header = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return header + directory + bytes(4) + data


def tiled_tiff(width, height, tile):
    data = zlib.compress(bytes(tile * tile * 3), 9)
    at = 8 + 2 + 12 * 10 + 4
    tags = {322: tile, 323: tile, 324: at, 325: len(data)}
    return tiff(width, height, tags, data)


# name → what encodes a picture in RGB, the same with alpha, and the same in 16 colors
PICTURES = {
    "progressive": lambda rgb, *_: encode(rgb, "JPEG", **PROGRESSIVE),
    "progressive CMYK": lambda rgb, *_: encode(rgb.convert("CMYK"), "JPEG", **PROGRESSIVE),
    "stray bytes": lambda rgb, *_: stray(encode(rgb, "JPEG", **PROGRESSIVE)),
    "rare sampling": lambda *_: blocky_jpeg("4x2 1x1 1x1", units=(WIDTH // 32, HEIGHT // 16)),
    "PNG": lambda rgb, *_: encode(rgb, "PNG", compress_level=1, orientation=8),
    "RGBA PNG": lambda _, rgba, __: encode(rgba, "PNG", compress_level=1, orientation=8),
    "gray PNG with alpha": lambda _, rgba, __: encode(rgba.convert("LA"), "PNG", compress_level=1),
    "palette PNG": lambda *x: encode(x[2], "PNG", compress_level=1, transparency=3),
    "16-bit PNG": lambda rgb, *_: png(
        np.asarray(rgb).astype(int) * 257, 16, 2, transparency=bytes(6)
    ),
    "GIF": lambda *x: encode(x[2], "GIF", transparency=3),
    "BMP": lambda rgb, *_: encode(rgb, "BMP"),
    "TIFF": lambda rgb, *_: encode(rgb, "TIFF", orientation=6),
    "one strip": lambda _, rgba, __: encode(rgba, "TIFF", **ONE_STRIP),
    "WebP": lambda rgb, *_: encode(rgb, "WEBP", quality=50, method=0),
    "lossless WebP": lambda _, rgba, __: encode(rgba, "WEBP", **LOSSLESS),
    "AVIF": lambda rgb, *_: encode(rgb, "AVIF", speed=10),
    "RGBA AVIF": lambda _, rgba, __: encode(rgba, "AVIF", speed=10, subsampling="4:4:4"),
    "HEIC": lambda rgb, *_: encode(rgb, "HEIF", enc_params={"preset": "ultrafast"}),
    "RGBA HEIC": lambda _, rgba, __: encode(rgba, "HEIF", enc_params={"preset": "ultrafast"}),
    "JPEG 2000": lambda rgb, *_: encode(rgb, "JPEG2000", tile_size=(512, 512)),
    "JPEG 2000 in one tile": lambda _, rgba, __: encode(rgba, "JPEG2000"),
    "RGBA BMP": lambda *x: bmp32(np.asarray(x[1])),
    "palette BMP": lambda *x: encode(x[2], "BMP"),
    "16-bit TIFF": lambda *x: tiffs.tiff(np.asarray(x[1]).astype("u2") * 257, 2, extra=2),
    "LZW TIFF": lambda *x: encode(x[1], "TIFF", compression="tiff_lzw"),
    "LZW TIFF in one strip": lambda *x: encode(x[1], "TIFF", **ONE_STRIP | LZW),
    "planar TIFF": lambda *x: tiffs.tiff(np.asarray(x[1]), 2, extra=2, planar=True, rows=100),
    "palette TIFF": lambda *x: encode(x[2], "TIFF"),
    "gray TIFF": lambda rgb, *_: encode(rgb.convert("L"), "TIFF"),
    "JPEG TIFF": lambda rgb, *_: encode(rgb, "TIFF", compression="jpeg"),
    "animated WebP": lambda *x: encode(x[1], "WEBP", save_all=True, append_images=[x[0]], method=0),
}
PROGRESSIVE = {"progressive": True, "subsampling": 0, "orientation": 6}
ONE_STRIP = {"compression": "tiff_adobe_deflate", "tiffinfo": {278: HEIGHT}}
LZW = {"compression": "tiff_lzw"}
LOSSLESS = {"lossless": True, "quality": 0, "method": 0}

SMALL = encode(Image.new("RGB", (64, 64)), "PNG")
MANY = 1_000_000

# name → what is to come of a small picture with much beside it, and what makes one
BOMBS = {
    "huge tile": ("too_large", lambda: tiled_tiff(64, 64, 8192)),
    "many strips": (
        "unreadable",
        lambda: tiff(64, 64, {278: 1, 273: (MANY, 200), 279: (MANY, 200)}, bytes(8 * MANY)),
    ),
    "many chunks": ("unreadable", lambda: SMALL[:33] + png_chunk(b"teSt", b"") * MANY + SMALL[33:]),
    "small header": ("ok", lambda: png_header(64, 64) + png_chunk(b"IDAT", packed())),
    "packed profile": (
        "ok",
        lambda: SMALL[:33] + png_chunk(b"iCCP", b"x\0\0" + packed()) + SMALL[33:],
    ),
}


def bmp32(rgba):
    red, green, blue, alpha = np.moveaxis(rgba.astype(np.int64), 2, 0)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    return bmp(alpha << 24 | red << 16 | green << 8 | blue, 32, header=108, masks=masks)


def packed():
    return zlib.compress(bytes(200 << 20), 1)


def stray(jpeg):
    return insert(jpeg, markers(jpeg, 0xD9, 0xD9), bytes(9))


def pictures():
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    colors = np.dstack([x >> 4, y >> 3, (x + y) >> 5]).astype(np.uint8)
    rgb = Image.fromarray(colors)
    rgba = Image.fromarray(np.dstack([colors, (x >> 4).astype(np.uint8)]))
    palette = rgb.quantize(16)
    return {name: make(rgb, rgba, palette) for name, make in PICTURES.items()}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Name → what came of it, and the bytes that it took."""
    folder = tmp_path_factory.mktemp("pictures")
    files = pictures() | {name: make() for name, (_, make) in BOMBS.items()}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    root = str(Path(__file__).parents[4])
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(MAX_PIXELS), *files],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_the_largest_size_takes_a_few_bytes_per_pixel(measured, name):
    outcome, taken = measured[name]

    assert outcome == "ok"
    most = MAX_BYTES + MORE_BYTES.get(name, 0)
    assert taken <= most, f"{taken / MAX_PIXELS:.1f} bytes per pixel"


@pytest.mark.parametrize("name", BOMBS)
def test_what_lies_beside_a_small_picture_takes_no_more(measured, name):
    outcome, taken = measured[name]

    assert outcome == BOMBS[name][0]
    assert taken <= MAX_BYTES, f"{taken >> 20} MiB"
