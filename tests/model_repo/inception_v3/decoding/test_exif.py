import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from model_repo.inception_v3.decoding.decode import decode_image
from model_repo.inception_v3.decoding.exif import exif_orientation
from tests.support.decoding import PHOTO, assert_close
from tests.support.images import encode, with_exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_decode_turns_the_image_upright_once(kind, orientation):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(PHOTO, kind, orientation=orientation, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))

    decoded = decode_image(data)

    assert_close(decoded.array, expected, 1)
    assert (decoded.width, decoded.height) == ((72, 96) if orientation >= 5 else (96, 72))
    assert decoded.flags == (() if orientation == 1 else ("exif_rotated",))


def test_decode_turns_clockwise_for_orientation_six():
    data = encode(PHOTO, "PNG", orientation=6)

    np.testing.assert_array_equal(decode_image(data).array, np.rot90(PHOTO, -1))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "letter"), [(3, "H"), (4, "I")])
def test_orientation_is_read_in_both_byte_orders(order, kind, letter):
    magic = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + letter, 8).ljust(4, b"\0")
    entry = struct.pack(order + "HHI", 0x0112, kind, 1) + value
    block = b"Exif\0\0" + magic + struct.pack(order + "IH", 8, 1) + entry

    assert exif_orientation(block) == 8
    assert decode_image(with_exif(encode(PHOTO, "JPEG"), block)).width == 72


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12",
        b"Exif\0\0garbage that is no TIFF",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",
    ],
)
def test_decode_ignores_a_damaged_exif_block(block):
    decoded = decode_image(with_exif(encode(PHOTO, "JPEG"), block))

    assert (decoded.width, decoded.height, decoded.flags) == (96, 72, ())


def test_decode_ignores_exif_that_a_comment_quotes():
    block = encode(PHOTO, "JPEG", orientation=6)
    block = block[block.index(b"Exif") :][:64]

    assert decode_image(encode(PHOTO, "JPEG", comment=block)).flags == ()


# --- As others read it ----------------------------------------------------------------------------

EXIF = b"Exif\0\0"
SHORT, LONG = 3, 4


def tiff(order, value, *, kind=SHORT, count=1, packed=None, offset=8, behind=b""):
    """Write an EXIF block with one entry, an orientation; None for an entry of another tag."""
    letter = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i"}[kind]
    tag = 0x010F if value is None else 0x0112
    packed = struct.pack(order + letter, value or 0) if packed is None else packed
    magic = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHI", tag, kind, count) + packed.ljust(4, b"\0")
    header = magic + struct.pack(order + "I", offset) + bytes(offset - 8)
    return header + struct.pack(order + "H", 1) + entry + bytes(4) + behind


def with_segments(*blocks):
    data = encode(PHOTO, "JPEG")
    for block in reversed(blocks):
        data = with_exif(data, block)
    return data


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        (lambda x: [EXIF + x(6), EXIF], 6),
        (lambda x: [EXIF + x(6), EXIF + bytes(50)], 6),
        (lambda x: [EXIF + x(6), EXIF + b"garbage" * 9], 6),
        (lambda x: [EXIF + x(6, behind=bytes(64_000)), EXIF + bytes(30_000)], 6),
        (lambda x: [EXIF, EXIF + x(6)], 6),
        (lambda x: [b"Exif\0", EXIF + x(6)], 6),
        (lambda x: [EXIF + EXIF + x(6)], 6),
        (lambda x: [EXIF + x(6, offset=70_000)[:65_000], EXIF + x(6, offset=70_000)[65_000:]], 6),
        (lambda x: [EXIF + x(6), EXIF + x(8)], 6),
        (lambda x: [EXIF + x(1), EXIF + x(6)], 1),
        (lambda x: [EXIF + x(9), EXIF + x(6)], 1),
        (lambda x: [EXIF + x(None), EXIF + x(6)], 1),
        (lambda x: [EXIF + bytes(50), EXIF + x(6)], 1),
        (lambda x: [b"http://ns.adobe.com/xap/1.0/\0<x/>", EXIF + x(6)], 6),
        (lambda x: [x(6)], 1),
    ],
)
def test_of_several_segments_the_first_block_counts_with_its_continuation(order, blocks, expected):
    data = with_segments(*blocks(lambda value, **options: tiff(order, value, **options)))

    decoded = decode_image(data)

    assert decoded.flags == (() if expected == 1 else ("exif_rotated",))
    assert decoded.width == (96 if expected == 1 else 72)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"kind": LONG}, 6),
        ({"kind": 6}, 6),
        ({"kind": 8}, 6),
        ({"kind": 9}, 6),
        ({"kind": 2}, 1),
        ({"count": 0}, 1),
        ({"count": 2}, 6),
        ({"count": 1000}, 1),
        ({"count": 3, "packed": "H"}, 6),
        ({"kind": LONG, "count": 2, "packed": "I"}, 6),
    ],
)
def test_orientation_of_an_odd_type_or_count_is_read_as_most_decoders_do(order, options, expected):
    options = dict(options)
    if letter := options.pop("packed", None):  # the values lie behind the directory
        options |= {"packed": struct.pack(order + "I", 26)}
        options |= {"behind": struct.pack(order + letter * 3, 6, 6, 6)}

    assert exif_orientation(EXIF + tiff(order, 6, **options)) == expected
