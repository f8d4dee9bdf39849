"""Small files that become large pictures: refused, or decoded in less than 50 MB."""

import struct
import zlib

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from serving.models.decode_limits import pixel_limit
from tests.support.images import encode, png, png_chunk, png_header
from tests.support.processes import MEBIBYTE, memory_bytes, peak_bytes, replicas, reset_peak

pillow_heif.register_heif_opener()  # which writes, too
pytestmark = pytest.mark.ray

_MOST = 50 * MEBIBYTE
_MAX_PIXELS = 50_000_000


def flat(mode: str, size: tuple[int, int], kind: str, **options) -> bytes:
    """Return one color all over: hundreds of pixels for each byte."""
    return encode(Image.new(mode, size), kind, **options)


def flat_png(side: int, bits: int, color: int) -> bytes:
    """Return a flat PNG without ever holding its pixels."""
    channels = {0: 1, 2: 3, 3: 1, 6: 4}[color]
    row = bytes(1 + side * channels * bits // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    palette = png_chunk(b"PLTE", bytes(6)) if color == 3 else b""
    header = png_header(side, side, bits, color)
    return header + palette + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def ask(service):
    """Label one image; return status, message and what it cost the replica at its worst moment."""
    (pid,) = replicas(service)
    service.post(flat("RGB", (400, 400), "PNG"))
    first = memory_bytes(pid)

    def ask_once(image: bytes) -> tuple[int, str, int]:
        reset_peak(pid)
        before = memory_bytes(pid)
        answer = service.post(image)
        return answer.status_code, answer.json().get("error", ""), peak_bytes(pid) - before

    yield ask_once
    # Otherwise what is kept of one would hide what the next one costs.
    assert memory_bytes(pid) - first < _MOST


@pytest.mark.parametrize(
    ("side", "bits", "color"), [(20_000, 8, 2), (20_000, 1, 0), (13_000, 8, 2), (13_000, 8, 3)]
)
def test_bomb_is_refused_by_its_header(ask, side, bits, color):
    status, message, cost = ask(flat_png(side, bits, color))

    assert status == 413
    assert f"{side} x {side} pixels exceed the limit" in message
    assert "--" not in message  # no advice for a command line
    assert cost < 10 * MEBIBYTE


_KINDS = {
    "png 1": lambda size: flat("1", size, "PNG"),
    "png gray": lambda size: flat("L", size, "PNG"),
    "png palette": lambda size: flat("P", size, "PNG"),
    "png rgb": lambda size: flat("RGB", size, "PNG"),
    "png rgba": lambda size: flat("RGBA", size, "PNG"),
    "png gray alpha": lambda size: flat("LA", size, "PNG"),
    "png rgba 16": lambda size: png(np.zeros((size[1], size[0], 4), np.uint16), 16, 6),
    "gif": lambda size: flat("P", size, "GIF"),
    "webp": lambda size: flat("RGB", size, "WEBP"),
    "webp lossless alpha": lambda size: flat("RGBA", size, "WEBP", lossless=True),
    "avif": lambda size: flat("RGB", size, "AVIF", speed=10),
    "avif alpha": lambda size: flat("RGBA", size, "AVIF", speed=10, subsampling="4:4:4"),
    "heic": lambda size: flat("RGB", size, "HEIF"),
    "jpeg 2000": lambda size: flat("RGB", size, "JPEG2000"),
    "jpeg 2000 alpha": lambda size: flat("RGBA", size, "JPEG2000"),
    "tiff": lambda size: flat("RGB", size, "TIFF", compression="tiff_adobe_deflate"),
    "tiff cmyk": lambda size: flat("CMYK", size, "TIFF", compression="tiff_adobe_deflate"),
    "tiff fax": lambda size: flat("1", size, "TIFF", compression="group4"),
    "jpeg": lambda size: flat("RGB", size, "JPEG"),
    "jpeg 4:4:4": lambda size: flat("RGB", size, "JPEG", subsampling=0),
    "jpeg cmyk": lambda size: flat("CMYK", size, "JPEG"),
    "jpeg progressive": lambda size: flat("RGB", size, "JPEG", progressive=True),
    "jpeg progressive 4:4:4": lambda size: flat(
        "RGB", size, "JPEG", progressive=True, subsampling=0
    ),
    "jpeg progressive turned": lambda size: flat(
        "RGB", size, "JPEG", progressive=True, orientation=6
    ),
    "jpeg progressive cmyk": lambda size: flat("CMYK", size, "JPEG", progressive=True),
}


def largest(make, width: int | None) -> bytes:
    """Return nearly the largest flat picture that is let through; a square, or so wide."""
    image, pixels = b"", 3_900_000
    for _ in range(5):  # the limit grows with the file, and comes to rest
        size = (width, pixels // width) if width else (int(pixels**0.5),) * 2
        image = make(size)
        limit = pixel_limit(image, _MAX_PIXELS)
        if 0.95 * limit < size[0] * size[1] <= limit:
            break
        pixels = int(0.98 * limit)
    return image


def test_a_sequential_jpeg_may_be_larger_than_a_progressive_one():
    sequential, progressive = (
        encode(Image.new("L", (400, 300)), "JPEG", progressive=each) for each in (False, True)
    )

    assert pixel_limit(sequential, 10**9) > 1.5 * pixel_limit(progressive, 10**9)


_TALL = [kind for kind in _KINDS if kind.startswith("jpeg")]  # not decoded at a fraction


@pytest.mark.parametrize(
    ("kind", "width"), [(kind, None) for kind in _KINDS] + [(kind, 700) for kind in _TALL]
)
def test_flat_picture_just_under_the_limit_costs_less_than_50_mb(ask, kind, width):
    status, message, cost = ask(largest(_KINDS[kind], width))

    assert status == 200, message
    print(f"{kind} {width} {cost / MEBIBYTE:.1f}")
    assert cost < _MOST


def test_photos_and_screenshots_are_let_through():
    sizes = {(4032, 3024): 900_000, (8064, 6048): 4_000_000}  # what phones make, JPEG
    jpeg = flat("RGB", (64, 64), "JPEG")
    screenshot = flat("RGB", (64, 64), "PNG")

    for (width, height), byte_count in sizes.items():
        assert width * height <= pixel_limit(jpeg.ljust(byte_count, b"\0"), _MAX_PIXELS)
    assert pixel_limit(screenshot.ljust(350_000, b"\0"), _MAX_PIXELS) >= 3840 * 2160


def test_padding_does_not_buy_a_bomb_much():
    bomb = png_header(20_000, 20_000) + png_chunk(b"tEXt", bytes(500_000))

    assert pixel_limit(bomb, _MAX_PIXELS) < 12_000_000


def test_jpeg_that_only_keeps_a_decoder_busy_may_have_few_pixels():
    image = flat("RGB", (64, 64), "JPEG", progressive=True)
    scan = b"\xff\xda" + struct.pack(">H", 8) + bytes(6)

    assert pixel_limit(image + 640 * scan, _MAX_PIXELS) < pixel_limit(image, _MAX_PIXELS) / 10


def test_bytes_that_came_compressed_bring_no_pixels_along():
    bomb = flat("RGB", (7000, 7000), "JPEG").ljust(60 * MEBIBYTE, b"\0")

    assert pixel_limit(bomb, _MAX_PIXELS) == _MAX_PIXELS
    assert pixel_limit(bomb, _MAX_PIXELS, 100_000) < 8_000_000
