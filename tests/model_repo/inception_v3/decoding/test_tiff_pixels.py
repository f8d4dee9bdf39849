import struct

import numpy as np
import pytest
from PIL import Image

from model_repo.inception_v3.decoding.decode import decode_image
from model_repo.inception_v3.errors import DecodeError
from tests.support.decoding import ALPHA, PHOTO, WIDE, assert_close, on_white
from tests.support.images import encode
from tests.support.tiffs import DEFLATE, LZW, NONE, PACKBITS, tiff
from tests.support.work import calls_made

GRAY = PHOTO[:, :, :1]
COMPRESSIONS = {"none": NONE, "LZW": LZW, "deflate": DEFLATE, "PackBits": PACKBITS}
LAYOUTS = {
    "one strip": {},
    "strips": {"rows": 7},
    "tiles": {"tile": 32},
    "planes": {"planar": True},
    "strips of planes": {"planar": True, "rows": 7},
    "tiles of planes": {"planar": True, "tile": 32},
    "BigTIFF": {"big": True, "rows": 7},
    "reversed bits": {"bits_reversed": True, "rows": 7},
}


def deep(samples, bits):
    """Return samples of so many bits for those of 8."""
    return (samples.astype(np.uint16) * 257 >> (16 - bits)).astype(f"u{1 + (bits > 8)}")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pixels_are_read_in_every_layout(layout, compression, bits, order):
    layout = {"bits": bits, "compression": COMPRESSIONS[compression]} | LAYOUTS[layout]

    decoded = decode_image(tiff(deep(PHOTO, bits), 2, order, **layout))

    np.testing.assert_array_equal(decoded.array, PHOTO)
    assert decoded.flags == (("sixteen_bit",) if bits == 16 else ())


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", [LZW, DEFLATE])
def test_the_predictor_is_undone(compression, bits, planar, order):
    layout = {"compression": compression, "predictor": 2, "planar": planar, "rows": 7}

    decoded = decode_image(tiff(deep(PHOTO, bits), 2, order, **layout))

    np.testing.assert_array_equal(decoded.array, PHOTO)


@pytest.mark.parametrize("photometric", [0, 1, 2])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_depths_from_1_to_16_bits_are_read(order, bits, photometric):
    samples = deep(PHOTO if photometric == 2 else GRAY, bits)
    expected = samples * (255 / (2**bits - 1)) if bits < 8 else samples >> (bits - 8)
    expected = 255 - expected if photometric == 0 else expected

    decoded = decode_image(tiff(samples, photometric, order, bits=bits))

    assert_close(decoded.array, np.broadcast_to(expected, PHOTO.shape), 0)


@pytest.mark.parametrize("photometric", [None, 0, 1])
@pytest.mark.parametrize("bits", [8, 16])
def test_three_channels_are_rgb_whatever_they_are_called(bits, photometric):
    decoded = decode_image(tiff(deep(PHOTO, bits), photometric))

    np.testing.assert_array_equal(decoded.array, PHOTO)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(
    ("extra", "meant"),
    [
        ([0], None),
        ([2], 0),
        ([999], 0),
        ([0, 0], None),
        ([2, 0], 0),
        ([0, 2], 1),
        ([0, 0, 0, 0], None),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_of_extra_samples_alpha_is_used(channels, extra, meant, planar, bits):
    colors, others = PHOTO[:, :, :channels], [255 - ALPHA] * len(extra)
    if meant is not None:
        others[meant] = ALPHA
    samples = deep(np.dstack([colors, *others]), bits)

    decoded = decode_image(tiff(samples, 2 if channels == 3 else 1, extra=extra, planar=planar))

    rgb = np.broadcast_to(colors, PHOTO.shape)
    assert_close(decoded.array, rgb if meant is None else on_white(rgb, ALPHA), 1)
    assert ("alpha" in decoded.flags) == (meant is not None)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_extra_samples_that_are_not_declared(channels):
    colors = 3 if channels > 3 else 1
    samples = np.dstack([PHOTO[:, :, :colors]] + [ALPHA] * (channels - colors))

    decoded = decode_image(tiff(samples, 2 if colors == 3 else 1))

    rgb = np.broadcast_to(PHOTO[:, :, :colors], PHOTO.shape)
    # What is RGB with a fourth channel has alpha, as all take it.
    assert_close(decoded.array, on_white(rgb, ALPHA) if channels == 4 else rgb, 1)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("scale", [257, 1], ids=["16-bit palette", "8-bit palette"])
def test_palettes_of_16_and_8_bits_are_read(scale, bits):
    palette = np.random.default_rng(bits).integers(128, 256, (3, 2**bits))
    indices = deep(GRAY, bits)

    decoded = decode_image(
        tiff(indices, 3, bits=bits, tags={320: (palette * scale).ravel().tolist()})
    )

    np.testing.assert_array_equal(decoded.array, palette.T[indices[:, :, 0]])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("channels", [4, 5])
def test_cmyk_is_converted_as_pillow_does(channels, planar, bits):
    inks = np.dstack([PHOTO, ALPHA // 3])
    samples = deep(np.dstack([inks, ALPHA])[:, :, :channels], bits)

    decoded = decode_image(tiff(samples, 5, extra=2 if channels == 5 else None, planar=planar))

    image = Image.frombytes("CMYK", (96, 72), inks.tobytes())
    np.testing.assert_array_equal(decoded.array, np.asarray(image.convert("RGB")))
    assert decoded.flags == ("cmyk", "sixteen_bit")[: 1 + (bits == 16)]


@pytest.mark.parametrize("compression", ["jpeg", "group3", "group4", "tiff_ccitt"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_fax_and_jpeg_are_read_as_pillow_does(compression, orientation):
    image = Image.fromarray(PHOTO)
    image = image if compression == "jpeg" else image.convert("1")
    data = encode(image, "TIFF", compression=compression, tiffinfo={274: orientation})

    decoded = decode_image(data)

    turned = np.rot90(np.asarray(image.convert("RGB")), -1 if orientation == 6 else 0)
    assert decoded.array.shape == turned.shape
    assert np.abs(decoded.array.astype(int) - turned).mean() < 8
    assert decoded.flags == (("exif_rotated",) if orientation == 6 else ())


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"tags": {259: [34712]}}, r"compression 34712 \(JPEG 2000\)"),
        ({"tags": {259: [50001]}}, r"compression 50001 \(WebP\)"),
        ({"tags": {259: [12345]}}, r"compression 12345 \(unknown\)"),
        ({"tags": {262: [32803]}}, r"pixels of kind 32803 \(camera raw\)"),
        ({"tags": {262: [5]}}, "3 channels of 8 bits"),
        ({"tags": {262: [3]}}, "0 values in the palette of 8-bit pixels"),
        ({"compression": LZW, "tags": {317: [3]}}, "predictor 3 for 8 bits"),
    ],
)
def test_what_is_not_read_is_named(options, found):
    with pytest.raises(DecodeError, match=f"TIFF with {found} is not read; convert it") as caught:
        decode_image(tiff(PHOTO, 2, **options))

    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ({258: [5, 6, 5]}, r"channels of different depth \(5, 6, 5\)"),
        ({278: [1]}, "1 strips or tiles of 72"),
        ({257: [4000], 278: [4000]}, "TIFF cut short: .* bytes at row 0"),
        ({256: [0]}, "0 x 72 pixels"),
        ({277: [0]}, "parts of 96 x 72 pixels"),
    ],
)
def test_tags_that_contradict_the_data_are_refused(tags, found):
    with pytest.raises(DecodeError, match=found):
        decode_image(tiff(PHOTO, 2, tags=tags))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_strip_that_is_cut_short_is_refused(compression):
    data = tiff(WIDE.astype(np.uint16)[:, :, :3], 2, compression=COMPRESSIONS[compression])
    lengths = 10 if compression == "none" else 60
    at = data.rindex(struct.pack("<HHI", 279, 4, 1)) + 8
    cut = data[:at] + struct.pack("<I", lengths) + data[at + 4 :]
    if compression == "none":  # of which nobody believes the lengths
        at = data.rindex(struct.pack("<HHI", 273, 4, 1)) + 8
        cut = data[:at] + struct.pack("<I", len(data) - lengths) + data[at + 4 :]

    with pytest.raises(DecodeError) as caught:
        decode_image(cut)

    assert caught.value.kind == "unreadable"


def test_a_million_planes_cost_nothing():
    data = tiff(PHOTO, 2, planar=True, rows=1, tags={277: [65_535], 257: [50_000]})

    def decode():
        with pytest.raises(DecodeError, match="strips or tiles hold"):
            decode_image(data)

    assert calls_made(decode) < 5000


def test_strips_beyond_the_limit_are_refused():
    data = tiff(np.zeros((8, 8, 200), np.uint8), 1, tags={338: [0] * 199})

    assert decode_image(data, max_pixels=1600).width == 8
    with pytest.raises(DecodeError, match="strips or tiles hold 12,800 bytes") as caught:
        decode_image(data, max_pixels=1599)
    assert caught.value.kind == "too_large"


def test_tiles_far_larger_than_the_picture_are_refused():
    data = tiff(PHOTO, 2, tags={322: [16_000], 323: [16_000], 256: [1]})

    with pytest.raises(DecodeError, match="strips or tiles hold 768,000,000 bytes") as caught:
        decode_image(data, max_pixels=300_000_000)

    assert caught.value.kind == "too_large"


@pytest.mark.parametrize("compression", [NONE, PACKBITS])
def test_a_predictor_that_the_compression_does_not_have_is_ignored(compression):
    data = tiff(PHOTO, 2, compression=compression, tags={317: [2]})

    assert_close(decode_image(data).array, PHOTO, 0)
