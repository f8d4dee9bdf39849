"""The walk through the coded data and the strict decoder have to agree on what is sound."""

import numpy as np
import pytest
import simplejpeg

from model_repo.inception_v3.decoding.jpeg_repair import rewrite_jpeg
from tests.support.images import encode, photo
from tests.support.jpeg import markers, scan_start

PHOTO = photo(120, 88)
KINDS = {
    "baseline": {},
    "4:4:4": {"subsampling": 0},
    "restarts": {"restart_marker_blocks": 3},
    "progressive": {"progressive": True},
    "progressive restarts": {"progressive": True, "restart_marker_rows": 1},
}


def jpeg(kind):
    return encode(PHOTO, "JPEG", quality=90, **KINDS[kind])


def complaint(data):
    try:
        simplejpeg.decode_jpeg(data)
    except ValueError as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_jpeg_is_walked_to_the_last_byte(kind):
    data = jpeg(kind)

    rewritten = rewrite_jpeg(data, walk=True)

    assert rewritten.data == data
    assert not rewritten.passed_over


@pytest.mark.parametrize("kind", KINDS)
def test_the_walk_passes_no_coded_data_that_the_strict_decoder_refuses(kind):
    data, random = jpeg(kind), np.random.default_rng(1)
    outcomes = {True: 0, False: 0}
    for _ in range(300):
        damaged = bytearray(data)
        for at in random.integers(scan_start(data), len(data) - 2, random.integers(1, 4)):
            damaged[at] = random.integers(0, 255)
        try:
            rewritten = rewrite_jpeg(bytes(damaged), walk=True)
        except ValueError:
            outcomes[False] += 1
        else:
            # A damaged header is for the decoder to find, the coded data for the walk.
            assert not complaint(rewritten.data).startswith("Corrupt JPEG data")
            outcomes[True] += 1

    assert min(outcomes.values()) > 20


@pytest.mark.parametrize("kind", ["restarts", "progressive restarts"])
def test_a_missing_or_swapped_restart_marker_is_damage(kind):
    data = jpeg(kind)
    first, second = markers(data, 0xD0, 0xD7)[:2]
    swapped = bytearray(data)
    swapped[first + 1], swapped[second + 1] = data[second + 1], data[first + 1]

    for damaged in (data[:first] + data[first + 2 :], bytes(swapped)):
        with pytest.raises(ValueError, match="coded data is damaged or ends early"):
            rewrite_jpeg(damaged, walk=True)


@pytest.mark.parametrize("kind", ["baseline", "progressive"])
def test_a_missing_table_is_damage(kind):
    data = jpeg(kind)
    at = data.index(b"\xff\xc4")
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")

    with pytest.raises(ValueError, match="coded data is damaged or ends early"):
        rewrite_jpeg(data[:at] + data[end:], walk=True)
