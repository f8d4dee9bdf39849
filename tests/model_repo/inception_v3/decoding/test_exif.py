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
