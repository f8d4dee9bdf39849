import struct

import numpy as np
import pytest
from PIL import Image

from model_repo.inception_v3.decoding.decode import decode_image
from model_repo.inception_v3.errors import DecodeError
from tests.support.decoding import ALPHA, PHOTO, assert_close, on_white
from tests.support.images import encode


@pytest.mark.parametrize("bare", [False, True], ids=["file", "codestream"])
def test_pixels_are_read_with_a_file_around_them_or_without(bare):
    decoded = decode_image(encode(PHOTO, "JPEG2000", no_jp2=bare))

    np.testing.assert_array_equal(decoded.array, PHOTO)
    assert decoded.flags == ()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_gray_and_alpha_are_read(mode):
    image = Image.fromarray(np.dstack([PHOTO, ALPHA])).convert(mode)

    decoded = decode_image(encode(image, "JPEG2000"))

    rgb = np.asarray(image.convert("RGB"))
    assert_close(decoded.array, on_white(rgb, ALPHA) if "A" in mode else rgb, 1)
    assert decoded.flags == (("alpha",) if "A" in mode else ())


def test_sixteen_bits_are_reduced():
    wide = PHOTO[:, :, 0].astype(np.uint16) * 257

    decoded = decode_image(encode(wide, "JPEG2000"))

    np.testing.assert_array_equal(decoded.array, np.dstack([PHOTO[:, :, 0]] * 3))
    assert decoded.flags == ("sixteen_bit",)


def test_the_codestream_s_own_size_counts():
    data = bytearray(encode(PHOTO, "JPEG2000"))
    at = data.index(b"\xff\x4f\xff\x51") + 8
    data[at : at + 8] = struct.pack(">II", 20_000, 20_000)

    with pytest.raises(DecodeError, match="20000 x 20000 pixels exceed the limit") as caught:
        decode_image(bytes(data))

    assert caught.value.kind == "too_large"


@pytest.mark.parametrize("kept", [20, 60, 100, 120])
def test_a_header_that_is_cut_short_is_refused(kept):
    with pytest.raises(DecodeError, match="JPEG 2000") as caught:
        decode_image(encode(PHOTO, "JPEG2000")[:kept])

    assert caught.value.kind == "unreadable"
