import struct

import numpy as np
import pytest

from model_repo.inception_v3.decoding.decode import decode_image
from model_repo.inception_v3.decoding.webp import mend_webp
from model_repo.inception_v3.errors import DecodeError
from tests.support.decoding import PHOTO, lossless

PLAIN = lossless(PHOTO, "WEBP")
TURNED = lossless(PHOTO, "WEBP", orientation=6)
PROFILED = lossless(PHOTO, "WEBP", icc_profile=bytes(999), xmp=b"<x/>")


def resized(data, by):
    """Change the length that the container states."""
    (length,) = struct.unpack_from("<I", data, 4)
    return data[:4] + struct.pack("<I", length + by) + data[8:]


@pytest.mark.parametrize("data", [PLAIN, TURNED, PROFILED, PLAIN + b"appended"])
def test_a_sound_container_is_not_copied(data):
    assert mend_webp(data) is data
    assert "repaired" not in decode_image(data).flags


@pytest.mark.parametrize(
    "data",
    [
        resized(PLAIN, 1000),
        resized(PLAIN, -2),
        resized(PLAIN, -len(PLAIN) + 8),
        resized(PROFILED, -2),
        PROFILED[:-2],
        resized(PROFILED, 5),
    ],
)
def test_a_wrong_length_costs_no_pixel(data):
    decoded = decode_image(data)

    np.testing.assert_array_equal(decoded.array, PHOTO)
    assert decoded.flags == ("repaired",)


def test_exif_counts_if_it_is_whole():
    assert decode_image(resized(TURNED, 100)).flags == ("exif_rotated", "repaired")
    assert decode_image(TURNED[:-10]).flags == ("repaired",)


@pytest.mark.parametrize("kept", [13, 19, 40, 500, len(PLAIN) - 2])
def test_pixels_that_are_cut_short_are_refused(kept):
    with pytest.raises(DecodeError) as caught:
        decode_image(PLAIN[:kept])

    assert caught.value.kind == "unreadable"
