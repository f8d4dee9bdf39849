import io
import struct

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from model_repo.inception_v3.decoding.decode import decode_image
from model_repo.inception_v3.errors import DecodeError
from tests.support.decoding import ALPHA, OTHER, PHOTO, WIDE, assert_close, lossless, on_white
from tests.support.images import encode, png
from tests.support.tiffs import tiff

# --- Alpha ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_decode_composes_rgba_on_white(kind):
    decoded = decode_image(lossless(np.dstack([PHOTO, ALPHA]), kind))

    assert_close(decoded.array, on_white(PHOTO, ALPHA), 1)
    assert decoded.flags == ("alpha",)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_decode_composes_gray_with_alpha_on_white(kind):
    gray = PHOTO[:, :, 0]
    image = Image.merge("LA", [Image.fromarray(gray), Image.fromarray(ALPHA)])

    decoded = decode_image(encode(image, kind))

    assert_close(decoded.array, on_white(np.dstack([gray] * 3), ALPHA), 1)
    assert decoded.flags == ("alpha",)


@pytest.mark.parametrize("channels", [1, 3])
def test_decode_composes_premultiplied_alpha_on_white(channels):
    colors = PHOTO[:, :, :channels]
    premultiplied = (colors * (ALPHA[:, :, None] / 255)).astype(np.uint8)
    data = tiff(np.dstack([premultiplied, ALPHA]), 2 if channels == 3 else 1, extra=1)

    decoded = decode_image(data)

    assert_close(decoded.array, on_white(np.broadcast_to(colors, PHOTO.shape), ALPHA), 3)
    assert decoded.flags == ("alpha",)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
@pytest.mark.parametrize("transparency", [3, bytes([0, 64, 128, 255]) + b"\xff" * 12])
def test_decode_composes_palette_transparency_on_white(kind, transparency):
    if kind == "GIF" and isinstance(transparency, bytes):
        pytest.skip("a GIF has one transparent color")
    image = Image.fromarray(PHOTO).quantize(16)
    opacity = (
        np.full(16, 255) if isinstance(transparency, int) else np.frombuffer(transparency, "u1")
    )
    if isinstance(transparency, int):
        opacity[transparency] = 0

    decoded = decode_image(encode(image, kind, transparency=transparency))

    expected = on_white(np.asarray(image.convert("RGB")), opacity[np.asarray(image)])
    assert_close(decoded.array, expected, 1)
    assert decoded.flags == ("alpha",)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_decode_composes_the_transparent_gray_on_white(bits):
    top = 2**bits - 1
    gray = np.array([[0, top // 3, top]])[:, :, None]

    decoded = decode_image(png(gray, bits, 0, transparency=struct.pack(">H", top // 3)))

    expected = [255 if value == top // 3 else value * 255 // top for value in gray.ravel()]
    np.testing.assert_array_equal(decoded.array[0, :, 0], expected)
    assert "alpha" in decoded.flags


@pytest.mark.parametrize("bits", [8, 16])
def test_decode_composes_the_transparent_color_on_white(bits):
    scale = 257 if bits == 16 else 1
    colors = np.array([[[10, 20, 30], [10, 20, 31]]]) * scale

    decoded = decode_image(png(colors, bits, 2, transparency=struct.pack(">3H", *colors[0, 0])))

    assert decoded.array.tolist() == [[[255, 255, 255], [10, 20, 31]]]
    assert "alpha" in decoded.flags


# --- CMYK -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("subsampling", ["444", "420"])
def test_decode_converts_cmyk_as_pillow_does(subsampling):
    inks = np.ascontiguousarray(np.dstack([OTHER, PHOTO[:, :, 0] // 3]))
    data = simplejpeg.encode_jpeg(inks, 95, "CMYK", subsampling)
    assert simplejpeg.decode_jpeg_header(data)[2] in ("CMYK", "YCCK")

    decoded = decode_image(data)

    assert_close(decoded.array, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), 1)
    assert decoded.flags == ("cmyk",)


def test_decode_rejects_truncated_cmyk():
    data = encode(Image.fromarray(PHOTO).convert("CMYK"), "JPEG")

    with pytest.raises(DecodeError):
        decode_image(data[: len(data) // 2])


def test_decode_converts_cmyk_tiff():
    image = Image.fromarray(PHOTO).convert("CMYK")

    decoded = decode_image(encode(image, "TIFF"))

    np.testing.assert_array_equal(decoded.array, np.asarray(image.convert("RGB")))
    assert decoded.flags == ("cmyk",)


# --- More than 8 bits -----------------------------------------------------------------------------


@pytest.mark.parametrize("color", [0, 2, 4, 6])
def test_decode_reduces_sixteen_bit_png(color):
    channels = {0: [0], 2: [0, 1, 2], 4: [0, 3], 6: [0, 1, 2, 3]}[color]

    decoded = decode_image(png(WIDE[:, :, channels], 16, color))

    rgb = np.broadcast_to(WIDE[:, :, channels[: len(channels) - (color >= 4)]] / 257, (40, 50, 3))
    expected = on_white(rgb, WIDE[:, :, 3] / 257) if color >= 4 else rgb
    assert_close(decoded.array, expected, 3 if color >= 4 else 1)
    assert decoded.flags == (("alpha",) if color >= 4 else ()) + ("sixteen_bit", "tiny")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_decode_reduces_sixteen_bit_tiff(order, channels):
    samples = WIDE[:, :, :channels].astype(np.uint16)
    data = tiff(samples, 1 if channels == 1 else 2, order, extra=2 if channels == 4 else None)

    decoded = decode_image(data)

    rgb = np.broadcast_to(samples[:, :, : min(channels, 3)] / 257, (40, 50, 3))
    expected = on_white(rgb, samples[:, :, 3] / 257) if channels == 4 else rgb
    assert_close(decoded.array, expected, 3 if channels == 4 else 1)
    assert decoded.flags == (("alpha",) if channels == 4 else ()) + ("sixteen_bit", "tiny")


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_decode_reduces_compressed_sixteen_bit_tiff(compression):
    gray = WIDE[:, :, 0].astype(np.uint16)

    decoded = decode_image(encode(gray, "TIFF", compression=compression))

    assert_close(decoded.array, np.dstack([gray / 257] * 3), 1)


def test_decode_inverts_sixteen_bit_tiff_where_white_is_zero():
    samples = WIDE[:, :, :1].astype(np.uint16)

    decoded = decode_image(tiff(samples, 0))

    assert_close(decoded.array, np.broadcast_to(255 - samples / 257, (40, 50, 3)), 1)


@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.int16, np.float32])
def test_decode_refuses_values_without_a_defined_range(dtype):
    with pytest.raises(DecodeError, match="convert to 8 or 16 bits") as caught:
        decode_image(tiff(WIDE[:, :, :1].astype(dtype), 1))

    assert caught.value.kind == "unreadable"
