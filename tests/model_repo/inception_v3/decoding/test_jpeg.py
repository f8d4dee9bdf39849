"""JPEGs that are valid but rare, wrong in a place that no pixel depends on, or damaged."""

import io

import numpy as np
import pytest
from PIL import Image

from model_repo.inception_v3.decoding.decode import decode_image
from model_repo.inception_v3.errors import DecodeError
from tests.support.images import encode, photo
from tests.support.jpeg import blocky_jpeg, insert, markers, scan_start, segment

ADOBE_YCCK = segment(0xEE, b"Adobe\0d\0\0\0\0\2")
ODD_SAMPLINGS = (
    *("4x2 1x1 1x1", "2x4 1x1 1x1", "1x4 1x1 1x1", "3x1 1x1 1x1", "1x3 1x1 1x1", "3x2 1x1 1x1"),
    *("1x1 2x2 2x2", "1x1 2x1 1x2", "2x1 1x2 1x1", "2x2 2x1 1x2", "2x2 2x2 1x1", "4x1 2x1 2x1"),
)
WIDE = photo(160, 96)
KINDS = {
    "baseline": {},
    "restarts": {"restart_marker_blocks": 7},
    "progressive": {"progressive": True},
    "progressive restarts": {"progressive": True, "restart_marker_rows": 2},
    "gray": {},
}
STRAY = b"\x11\x22\x33\x44"


def jpeg(kind):
    return encode(WIDE[:, :, 0] if kind == "gray" else WIDE, "JPEG", quality=92, **KINDS[kind])


def by_pillow(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def refusal(data, **options):
    with pytest.raises(DecodeError) as caught:
        decode_image(data, **options)
    assert caught.value.kind == "unreadable"
    return str(caught.value)


# --- Valid but rare -------------------------------------------------------------------------------


@pytest.mark.parametrize("restart", [0, 2])
@pytest.mark.parametrize("sampling", ODD_SAMPLINGS)
def test_any_chroma_sampling_is_read(sampling, restart):
    data = blocky_jpeg(sampling, restart=restart)

    decoded = decode_image(data)

    np.testing.assert_array_equal(decoded.array, by_pillow(data))
    assert np.ptp(decoded.array) > 100
    assert "repaired" not in decoded.flags


@pytest.mark.parametrize("sampling", ["2x2 1x1 1x1 1x1", "2x1 1x1 1x1 2x1", "4x1 1x1 1x1 1x1"])
def test_ycck_of_any_sampling_is_read(sampling):
    data = blocky_jpeg(sampling, app=ADOBE_YCCK)

    decoded = decode_image(data)

    np.testing.assert_array_equal(decoded.array, by_pillow(data))
    assert "cmyk" in decoded.flags
    assert "repaired" not in decoded.flags


@pytest.mark.parametrize("sampling", ["1x1 1x1 1x1 1x1", "1x1 1x1 1x1 2x1"])
def test_four_components_of_unknown_colors_are_inverted_inks_whoever_decodes(sampling):
    stated = decode_image(blocky_jpeg(sampling, app=segment(0xEE, b"Adobe\0d\0\0\0\0\0")))

    decoded = decode_image(blocky_jpeg(sampling))

    np.testing.assert_array_equal(decoded.array, stated.array)
    assert decoded.flags == stated.flags


def test_a_rare_sampling_in_too_large_a_picture_is_refused_before_it_is_decoded():
    data = blocky_jpeg("4x2 1x1 1x1", units=(30, 60))

    with pytest.raises(DecodeError, match="957 x 955 pixels exceed the limit of 900,000") as caught:
        decode_image(data, max_pixels=900_000)

    assert caught.value.kind == "too_large"


def test_lossless_gray_is_read():
    # Four pixels: 128 and three differences of 0, by a code of one bit.
    header = segment(0xC3, b"\x08\0\x02\0\x02\x01\x01\x11\0") + segment(0xC4, b"\0\x01" + bytes(16))
    data = b"\xff\xd8" + header + segment(0xDA, b"\x01\x01\0\x01\0\0") + b"\x0f\xff\xd9"

    decoded = decode_image(data)

    assert decoded.array.tolist() == [[[128] * 3] * 2] * 2
    assert decoded.flags == ("tiny",)


@pytest.mark.parametrize(
    ("marker", "bits", "message"),
    [
        (0xC1, 12, "JPEG with 12 bits per channel is not read; convert it to 8 bits"),
        (0xC5, 8, "JPEG of a rare kind (SOF5) is not read; convert it to baseline or progressive"),
    ],
)
def test_what_is_not_read_is_named(marker, bits, message):
    data = bytearray(jpeg("baseline"))
    frame = data.index(b"\xff\xc0")
    data[frame + 1], data[frame + 4] = marker, bits

    assert refusal(bytes(data)) == message


def test_a_rare_number_of_channels_is_named():
    assert refusal(blocky_jpeg("1x1 1x1")) == "JPEG of 2 channels is not read; convert it to RGB"


def test_a_rare_sampling_that_is_not_huffman_coded_is_named():
    data = bytearray(blocky_jpeg("4x2 1x1 1x1"))
    data[data.index(b"\xff\xc0") + 1] = 0xC9  # arithmetic coding

    assert "coded without Huffman codes; convert it to baseline" in refusal(bytes(data))


# --- Wrong where no pixel depends on it -----------------------------------------------------------


def profile(*chunks):
    return b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes(chunk) + bytes(200)) for chunk in chunks)


@pytest.mark.parametrize(
    "segments",
    [
        profile((1, 1), (1, 1)),
        profile((1, 3), (3, 3)),
        profile((1, 2)),
        profile((2, 2), (1, 3)),
        profile((0, 0)),
        segment(0xE0, b"JFIF\0\x02\x01\0\0\x01\0\x01\0\0"),
    ],
    ids=["doubled", "missing", "cut", "counted wrongly", "number 0", "JFIF 2"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_segment_that_says_nothing_of_the_pixels_may_be_wrong(kind, segments):
    data = jpeg(kind)

    decoded = decode_image(insert(data, [2], segments))

    np.testing.assert_array_equal(decoded.array, decode_image(data).array)
    assert decoded.flags == ("repaired",)


def places(data, where):
    """Return where bytes are put that belong to nothing."""
    return {
        "between segments": [data.index(b"\xff\xdb"), data.index(b"\xff\xc4")],
        "before the first scan": [data.index(b"\xff\xda")],
        "before later headers": markers(data, 0xC4, 0xC4) + markers(data, 0xDA, 0xDA),
        "before a restart": markers(data, 0xD0, 0xD7)[1:2],
        "before all restarts": markers(data, 0xD0, 0xD7),
        "before the end": markers(data, 0xD9, 0xD9),
    }[where]


@pytest.mark.parametrize("stray", [bytes(9), b"stray bytes", b"\xa5" * 40], ids=["9", "11", "40"])
@pytest.mark.parametrize(
    ("kind", "where"),
    [
        *((kind, where) for kind in KINDS for where in ("between segments", "before the end")),
        ("gray", "before the first scan"),
        ("progressive", "before later headers"),
        ("progressive restarts", "before later headers"),
        ("restarts", "before a restart"),
        ("restarts", "before all restarts"),
        ("progressive restarts", "before a restart"),
    ],
)
def test_bytes_that_belong_to_nothing_are_passed_over(kind, where, stray):
    data = jpeg(kind)
    found = places(data, where)
    assert found

    decoded = decode_image(insert(data, found, stray))

    np.testing.assert_array_equal(decoded.array, decode_image(data).array)
    assert decoded.flags == ("repaired",)


def test_bytes_are_passed_over_in_a_rare_sampling_too():
    data = blocky_jpeg("4x2 1x1 1x1", restart=2)

    decoded = decode_image(insert(data, places(data, "before all restarts"), STRAY))

    np.testing.assert_array_equal(decoded.array, by_pillow(data))
    assert "repaired" in decoded.flags


def test_the_orientation_behind_bytes_that_belong_to_nothing_counts():
    data = encode(WIDE, "JPEG", orientation=6)

    decoded = decode_image(insert(data, [data.index(b"\xff\xe1")], STRAY))

    assert (decoded.width, decoded.height) == (96, 160)
    assert decoded.flags == ("exif_rotated", "repaired")


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_may_be_missing(kind):
    data = jpeg(kind)

    decoded = decode_image(data[:-2])

    np.testing.assert_array_equal(decoded.array, decode_image(data).array)
    assert decoded.flags == ("repaired",)


def test_a_repaired_jpeg_is_scaled_as_a_sound_one():
    data = encode(photo(800, 600), "JPEG")

    decoded = decode_image(data[:-2], min_side=300)

    np.testing.assert_array_equal(decoded.array, decode_image(data, min_side=300).array)
    assert (decoded.width, decoded.height) == (800, 600)


# --- Missing or damaged pixels --------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"", b"\xff\xd9", bytes(600)], ids=["cut", "end", "zeros"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_jpeg_is_refused(kind, end):
    data = jpeg(kind)
    start = scan_start(data)

    for kept in np.linspace(start + 1, len(data) - 8, 25).astype(int):
        refusal(data[:kept] + end)


def test_a_progressive_jpeg_that_lacks_a_scan_is_refused():
    data = jpeg("progressive")

    for scan in markers(data, 0xDA, 0xDA):
        assert "Premature end of JPEG file" in refusal(data[:scan])


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["cut", "end"])
def test_a_cut_jpeg_of_a_rare_sampling_is_refused(end):
    data = blocky_jpeg("4x2 1x1 1x1", restart=2)

    for kept in range(scan_start(data) + 1, len(data) - 4):
        assert "JPEG cannot be decoded: " in refusal(data[:kept] + end)


def damaged(data, random):
    """Change bytes of the coded data, put some in, or take some out."""
    at = int(random.integers(scan_start(data), len(data) - 2))
    count = int(random.integers(1, 20))
    junk = bytes(random.integers(0, 255, count).tolist())
    end = len(data) - 2
    return [
        data[:at] + junk + data[min(at + count, end) :],
        data[:at] + junk + data[at:],
        data[:at] + data[min(at + count, end) :],
        data[:at] + data[at : at + 200] + data[at:],
    ][random.integers(0, 4)]


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_not_taken_for_bytes_that_belong_to_nothing(kind):
    data, random = jpeg(kind), np.random.default_rng(0)
    sound = decode_image(data).array
    outcomes = {"refused": 0, "wrong": 0}
    for _ in range(200):
        try:
            decoded = decode_image(damaged(data, random))
        except DecodeError:
            outcomes["refused"] += 1
        else:
            changed = not np.array_equal(decoded.array, sound)
            outcomes["wrong"] += "repaired" in decoded.flags and changed

    # Huffman codes have no checksum: a few do read as sound, and few of those as repaired.
    assert outcomes["wrong"] <= 6
    assert outcomes["refused"] > 80


def test_damage_in_a_rare_sampling_is_refused():
    data = bytearray(blocky_jpeg("4x2 1x1 1x1"))
    data[scan_start(data)] |= 0xF0  # a code that stands for nothing

    assert refusal(bytes(data)).endswith("coded data is damaged or ends early")


def test_what_would_take_too_long_to_check_is_refused():
    data = bytearray(blocky_jpeg("4x2 1x1 1x1"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xdc" * 2

    message = refusal(bytes(data), max_pixels=10**10)

    assert message.endswith("bytes and blocks to check one by one")


@pytest.mark.parametrize("start", [b"\xff\xd8", jpeg("baseline")[:4000]])
def test_a_long_run_of_ff_takes_no_long_time(start):
    """Where each of them began a search of its own, three million would take hours."""
    with pytest.raises(DecodeError):
        decode_image(start + b"\xff" * 3_000_000 + bytes(10))


def test_countless_frame_headers_take_no_long_time():
    with pytest.raises(DecodeError):
        decode_image(b"\xff\xd8" + b"\xff\xc2\0\2" * 1_000_000 + b"\xff\xd9")
