import struct

import numpy as np
import pytest

from model_repo.inception_v3.decoding.decode import decode_image
from model_repo.inception_v3.errors import DecodeError
from tests.support.bmps import SIZES, bmp
from tests.support.decoding import ALPHA, PHOTO, assert_close, on_white

COLORS = np.moveaxis(PHOTO, 2, 0).astype(np.int64)
BYTES = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def packed(channels, masks):
    """Return [H, W] of whole numbers that hold channels of 8 bits where the masks say."""
    values = np.zeros(channels[0].shape, np.int64)
    for channel, mask in zip(channels, masks, strict=True):
        most = mask // (mask & -mask)
        values |= np.rint(channel * (most / 255)).astype(np.int64) * (mask & -mask)
    return values


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("header", SIZES[1:])
@pytest.mark.parametrize("bits", [24, 32])
def test_colors_are_read_whatever_the_header(bits, header, top_down):
    # The fourth byte is not alpha unless a mask says so.
    values = packed([*COLORS, ALPHA], BYTES) if bits == 32 else packed(COLORS, BYTES[:3])

    decoded = decode_image(bmp(values, bits, header=header, top_down=top_down))

    np.testing.assert_array_equal(decoded.array, PHOTO)
    assert decoded.flags == ()


@pytest.mark.parametrize("header", [40, 52, 56, 108, 124])
@pytest.mark.parametrize(
    ("bits", "masks"),
    [
        (16, (0xF800, 0x7E0, 0x1F)),
        (16, (0x7C00, 0x3E0, 0x1F)),
        (16, (0xF00, 0xF0, 0xF)),
        (32, BYTES[:3]),
        (32, (0xFF, 0xFF00, 0xFF0000)),
        (32, (0xFF000000, 0xFF0000, 0xFF00)),
        (32, (0x3FF00000, 0xFFC00, 0x3FF)),
    ],
)
def test_colors_are_where_the_masks_say(masks, bits, header):
    decoded = decode_image(bmp(packed(COLORS, masks), bits, header=header, masks=masks))

    assert_close(decoded.array, PHOTO, 9 if bits == 16 else 0)
    assert decoded.flags == ()


@pytest.mark.parametrize("header", [56, 108, 124])
@pytest.mark.parametrize(
    ("bits", "masks"),
    [(32, BYTES), (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)), (16, (15 << 8, 240, 15, 15 << 12))],
)
def test_alpha_is_composed_unless_it_is_zero_throughout(masks, bits, header):
    some = bmp(packed([*COLORS, ALPHA], masks), bits, header=header, masks=masks)
    none = bmp(packed([*COLORS, ALPHA * 0], masks), bits, header=header, masks=masks)
    opaque = bmp(packed([*COLORS, ALPHA | 255], masks), bits, header=header, masks=masks)

    assert_close(decode_image(some).array, on_white(PHOTO, ALPHA), 1 if bits == 32 else 16)
    assert decode_image(some).flags == ("alpha",)
    for data in (none, opaque):
        assert_close(decode_image(data).array, PHOTO, 0 if bits == 32 else 9)
        assert decode_image(data).flags == ()


@pytest.mark.parametrize("header", SIZES)
@pytest.mark.parametrize(
    ("bits", "colors"), [(1, 2), (2, 2), (2, 4), (4, 2), (4, 3), (4, 16), (8, 2), (8, 9), (8, 256)]
)
@pytest.mark.parametrize("gray", [False, True])
def test_palettes_of_any_size_are_read(gray, bits, colors, header):
    colors = 1 << bits if header == 12 else colors  # which states none
    palette = np.random.default_rng(colors).integers(0, 256, (colors, 3)).astype(np.uint8)
    if gray:
        palette[:] = np.linspace(0, 255, colors)[:, None]
    indices = COLORS[0] * colors >> 8

    decoded = decode_image(bmp(indices, bits, header=header, palette=palette))

    np.testing.assert_array_equal(decoded.array, palette[indices])


RUNS = b"\x03\x01\0\x03\x02\x01\x03\0\0\0\0\x02\x02\x01\x04\x03\0\x01"
RUNS_OF_4_BITS = b"\x03\x12\0\x03\x21\x30\0\0\0\x02\x02\x01\x04\x33\0\x01"


@pytest.mark.parametrize(
    ("bits", "runs", "first"),
    [(8, RUNS, [1, 1, 1, 2, 1, 3]), (4, RUNS_OF_4_BITS, [1, 2, 1, 2, 1, 3])],
)
@pytest.mark.parametrize("colors", [4, 2])
def test_runs_are_read(colors, bits, runs, first):
    palette = np.array([[0, 0, 0], [255, 255, 255], [9, 8, 7], [6, 5, 4]], np.uint8)[:colors]
    rows = [first, [0] * 6, [0, 0, 3, 3, 3, 3]]  # from the bottom; two rows up, two to the right
    data = bytearray(bmp(np.zeros((3, 6), np.int64), bits, palette=palette))
    data[30:34] = struct.pack("<I", 1 if bits == 8 else 2)
    head = bytes(data[: struct.unpack_from("<I", data, 10)[0]])

    decoded = decode_image(head + runs)

    filled = np.zeros((1 << bits, 3), np.uint8)
    filled[:colors] = palette
    np.testing.assert_array_equal(decoded.array, filled[np.array(rows[::-1])])
    with pytest.raises(DecodeError, match="BMP cut short"):
        decode_image(head + runs[:10])


@pytest.mark.parametrize(
    ("at", "value", "found"),
    [
        (30, struct.pack("<I", 5), "BMP with compression 5 of 24 bits is not read"),
        (28, struct.pack("<H", 13), "BMP of 13 bits per pixel"),
        (18, struct.pack("<i", -96), "image of -96 x 72 pixels"),
        (22, struct.pack("<i", 0), "image of 96 x 0 pixels"),
        (22, struct.pack("<i", 73), "BMP cut short"),
        (10, struct.pack("<I", 1 << 20), "BMP cut short"),
    ],
)
def test_what_is_not_read_is_named(at, value, found):
    data = bmp(packed(COLORS, BYTES[:3]), 24)

    with pytest.raises(DecodeError, match=found) as caught:
        decode_image(data[:at] + value + data[at + len(value) :])

    assert caught.value.kind == "unreadable"
