import importlib.util
import io
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from model_repo.inception_v3.decoding.decode import decode_image
from model_repo.inception_v3.decoding.decoded import FLAGS, MAX_PARTS, MAX_PIXELS
from model_repo.inception_v3.decoding.jpeg import MAX_SCANS
from model_repo.inception_v3.errors import DecodeError
from tests.support.decoding import ALPHA, LOSSLESS, OTHER, PHOTO, WIDE, assert_close, lossless
from tests.support.images import encode, photo, png, png_chunk, png_header
from tests.support.tiffs import tiff
from tests.support.work import calls_made, memory_taken

KINDS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "AVIF", "JPEG2000", "HEIF")

# --- Formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOSSLESS)
def test_decode_returns_the_pixels_of_lossless_formats(kind):
    decoded = decode_image(lossless(PHOTO, kind))

    np.testing.assert_array_equal(decoded.array, PHOTO)
    assert (decoded.width, decoded.height, decoded.flags) == (96, 72, ())
    assert decoded.array.dtype == np.uint8
    assert decoded.array.flags.c_contiguous
    assert decoded.array.flags.writeable


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_decode_reads_jpeg_as_pillow_does(options):
    data = encode(PHOTO, "JPEG", **options)

    decoded = decode_image(data)

    assert_close(decoded.array, np.asarray(Image.open(io.BytesIO(data))), 1)
    assert decoded.flags == ()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_decode_repeats_gray_in_all_three_channels(kind):
    data = encode(PHOTO[:, :, 0], kind)

    array = decode_image(data).array

    assert_close(array, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), 0)


@pytest.mark.parametrize("mode", ["1", "P"])
@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_decode_expands_palette_and_one_bit(kind, mode):
    image = (
        Image.fromarray(PHOTO).convert("1") if mode == "1" else Image.fromarray(PHOTO).quantize(16)
    )

    decoded = decode_image(encode(image, kind))

    np.testing.assert_array_equal(decoded.array, np.asarray(image.convert("RGB")))
    assert decoded.flags == ()


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_decode_reads_compressed_tiff(compression):
    decoded = decode_image(encode(PHOTO, "TIFF", compression=compression))

    np.testing.assert_array_equal(decoded.array, PHOTO)


# --- What is damaged -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.97])
def test_decode_rejects_truncated(kind, kept):
    data = encode(PHOTO, kind)

    with pytest.raises(DecodeError) as caught:
        decode_image(data[: int(len(data) * kept)])

    assert caught.value.kind == "unreadable"


def test_decode_rejects_jpeg_damaged_in_the_middle():
    data = bytearray(encode(photo(320, 240), "JPEG"))
    middle = len(data) // 2
    data[middle : middle + 64] = b"\xff\xd3" * 32

    with pytest.raises(DecodeError, match="JPEG cannot be decoded"):
        decode_image(bytes(data))


def test_decode_rejects_png_with_one_flipped_bit():
    data = bytearray(encode(PHOTO, "PNG", compress_level=0))
    data[len(data) // 2] ^= 1

    with pytest.raises(DecodeError, match="PNG checksum mismatch"):
        decode_image(bytes(data))


def test_decode_rejects_jpeg_of_thousands_of_scans():
    data = encode(PHOTO, "JPEG", progressive=True)
    scan = data[data.index(b"\xff\xda") : -2]

    with pytest.raises(DecodeError, match="scans"):
        decode_image(data[:-2] + scan * (MAX_SCANS + 1) + data[-2:])


@pytest.mark.parametrize("message", ["damaged header", "Premature end"])
def test_decode_messages_name_the_format_and_no_address(message):
    data = encode(PHOTO, "JPEG")
    data = data[:8] if message == "damaged header" else data[: len(data) // 2]

    with pytest.raises(DecodeError) as caught:
        decode_image(data)

    assert str(caught.value).startswith("JPEG cannot be decoded: ")
    assert message in str(caught.value)
    assert "0x" not in str(caught.value)


def huge(kind):
    side = 16_000
    if kind == "PNG":
        return png_header(side, side) + png_chunk(b"IDAT", b"")
    if kind == "GIF":
        return b"GIF89a" + struct.pack("<HH", side, side) + b"\0\0\0,\0\0\0\0\1\0\1\0\0\2\0;"
    if kind == "WEBP":
        body = b"WEBPVP8X" + struct.pack("<II", 10, 0) + (side - 1).to_bytes(3, "little") * 2
        return b"RIFF" + struct.pack("<I", len(body)) + body
    data = bytearray(encode(PHOTO[:8, :8], kind))
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", side, side)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", side, side)
    else:
        for tag in (256, 257):
            at = data.index(struct.pack("<H", tag), struct.unpack_from("<I", data, 4)[0])
            data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, side)
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_decode_refuses_too_many_pixels_before_decoding(kind):
    data = huge(kind)

    def decode():
        with pytest.raises(DecodeError) as caught:
            decode_image(data)
        return caught

    assert memory_taken(decode) < 16_000 * 16_000 / 10
    assert calls_made(decode) < 5000
    caught = decode()
    assert caught.value.kind == "too_large"
    assert "16000 x 16000 pixels exceed the limit of 100,000,000" in str(caught.value)


def test_decode_limit_is_inclusive():
    data = encode(PHOTO, "PNG")

    assert decode_image(data, max_pixels=96 * 72).width == 96
    with pytest.raises(DecodeError, match="96 x 72 pixels exceed the limit of 6,911"):
        decode_image(data, max_pixels=96 * 72 - 1)


@pytest.mark.parametrize("kind", [*KINDS, "lossless WEBP"])
def test_decode_reads_the_size_of_every_kind_for_the_limit(kind):
    options = {"lossless": True} if kind.startswith("lossless") else {}
    data = encode(PHOTO, kind.split()[-1], **options)

    with pytest.raises(DecodeError, match=r"96 x 72 pixels exceed the limit of 100$"):
        decode_image(data, max_pixels=100)


def test_decode_limit_of_the_user_replaces_that_of_pillow():
    # Beyond both of Pillow's limits (89 and 179 MP), with no pixels: decoding must have begun.
    data = png_header(20_000, 10_000, bits=1, color=0) + png_chunk(b"IDAT", b"")

    with pytest.raises(DecodeError) as caught:
        decode_image(data, max_pixels=10 * MAX_PIXELS)

    assert caught.value.kind == "unreadable"
    assert "bomb" not in str(caught.value)


# --- Animations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_decode_takes_the_first_of_several_frames(kind):
    frames = [Image.fromarray(array) for array in (PHOTO, OTHER, PHOTO[::-1])]
    if kind == "GIF":
        frames = [frame.quantize(16) for frame in frames]

    data = lossless(frames[0], kind, save_all=True, append_images=frames[1:])

    decoded = decode_image(data)
    np.testing.assert_array_equal(decoded.array, np.asarray(frames[0].convert("RGB")))
    assert decoded.flags == ("animated",)


def test_decode_takes_the_first_frame_of_a_gif_cut_in_the_second():
    frames = [Image.fromarray(array).quantize(16) for array in (PHOTO, OTHER)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])

    decoded = decode_image(data[: int(len(data) * 0.8)])

    np.testing.assert_array_equal(decoded.array, np.asarray(frames[0].convert("RGB")))


# --- Scaling --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "min_side", "expected"),
    [
        ((800, 600), None, (800, 600)),
        ((800, 600), 301, (800, 600)),
        ((800, 600), 300, (400, 300)),
        ((801, 601), 150, (201, 151)),
        ((600, 801), 75, (75, 101)),
        ((800, 600), 1, (100, 75)),
    ],
)
def test_decode_scales_jpeg_by_powers_of_two_down_to_min_side(size, min_side, expected):
    decoded = decode_image(encode(photo(*size), "JPEG"), min_side=min_side)

    assert decoded.array.shape == (expected[1], expected[0], 3)
    assert (decoded.width, decoded.height) == size


def test_decode_tells_the_original_size_of_a_scaled_and_turned_jpeg():
    decoded = decode_image(encode(photo(800, 600), "JPEG", orientation=6), min_side=300)

    assert decoded.array.shape == (400, 300, 3)
    assert (decoded.width, decoded.height) == (600, 800)


# --- Flags ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "flags"),
    [
        ((64, 64), ()),
        ((63, 64), ("tiny",)),
        ((256, 64), ()),
        ((257, 64), ("extreme_aspect",)),
        ((64, 257), ("extreme_aspect",)),
        ((1, 9), ("tiny", "extreme_aspect")),
    ],
)
def test_decode_flags_tiny_and_extreme_aspect(size, flags):
    assert decode_image(encode(photo(*size), "PNG")).flags == flags


def test_decode_gives_flags_in_the_order_of_the_vocabulary():
    image = Image.fromarray(np.dstack([PHOTO, ALPHA])[:10])
    data = encode(image, "PNG", orientation=6, save_all=True, append_images=[image.rotate(180)])

    flags = decode_image(data).flags

    assert flags == ("exif_rotated", "alpha", "animated", "tiny", "extreme_aspect")
    assert list(flags) == sorted(flags, key=FLAGS.index)


# --- Whatever the bytes ---------------------------------------------------------------------------


def samples():
    """Yield one small image of each kind that takes a path of its own."""
    small = Image.fromarray(PHOTO[:24, :32])
    frames = {"save_all": True, "append_images": [small.rotate(90)]}
    yield encode(small, "JPEG", orientation=6)
    yield encode(small, "JPEG", progressive=True)
    yield encode(small.convert("CMYK"), "JPEG")
    yield encode(small, "PNG", orientation=6)
    yield encode(small, "PNG", **frames)
    yield encode(small.quantize(16), "PNG", transparency=3)
    yield png(WIDE[:9, :9], 16, 6)
    yield encode(small, "WEBP", orientation=6)
    yield encode(small, "WEBP", lossless=True, **frames)
    yield encode(small, "GIF", **frames)
    yield encode(small, "BMP")
    yield encode(small.quantize(16), "BMP")
    yield encode(small, "AVIF", orientation=6)
    yield encode(small, "JPEG2000")
    yield encode(small, "HEIF")
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg"):
        yield encode(small, "TIFF", compression=compression, orientation=6)
    yield tiff(WIDE[:9, :9].astype(np.uint16), 2, ">", extra=2)


def damage(data, random):
    damaged = bytearray(data)
    at = int(random.integers(0, len(damaged)))
    match random.integers(0, 4):
        case 0:
            del damaged[at:]
        case 1:  # bits of the header
            for _ in range(random.integers(1, 4)):
                damaged[random.integers(0, min(len(damaged), 200))] ^= 1 << random.integers(0, 8)
        case 2:
            for _ in range(random.integers(1, 20)):
                damaged[random.integers(0, len(damaged))] = random.integers(0, 256)
        case _:
            damaged[at : at + int(random.integers(1, 40))] = random.bytes(random.integers(0, 40))
    return bytes(damaged)


# Pillow's warnings are silenced where the module is imported, which pytest undoes.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("number", range(20))
def test_decode_raises_nothing_but_decode_errors_on_damage(number):
    data = list(samples())[number]
    random = np.random.default_rng(number)
    outcomes = {"decoded": 0, "refused": 0}
    for _ in range(150):
        try:
            decoded = decode_image(damage(data, random), max_pixels=1_000_000)
        except DecodeError:
            outcomes["refused"] += 1
        else:
            assert decoded.array.shape[2] == 3
            outcomes["decoded"] += 1

    assert outcomes["refused"] > 0


def test_decode_raises_nothing_but_decode_errors_on_garbage():
    random = np.random.default_rng(0)
    starts = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*")
    starts += (b"II+\0", b"RIFF\x99\0\0\0WEBPVP8 ", b"RIFF\x99\0\0\0WEBPVP8X")
    starts += (b"\0\0\0\x18ftypavif", b"\0\0\0\x18ftypheic", b"\xff\x4f\xff\x51")
    for start in (*starts, b"\0\0\0\x0cjP  \r\n\x87\n"):
        for length in range(0, 200, 3):
            with pytest.raises(DecodeError):
                decode_image(start + random.bytes(length), max_pixels=1_000_000)


def test_decode_is_quiet_about_odd_metadata():
    data = bytearray(encode(PHOTO, "TIFF", software="x" * 40, compression="jpeg"))
    at = data.index(b"\x31\x01\x02\0")
    data[at + 8 : at + 12] = b"\xff\xff\xff\x7f"  # the text lies beyond the file
    spec = importlib.util.find_spec("model_repo.inception_v3.decoding.pillow")
    again = importlib.util.module_from_spec(spec)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DecodeError, match="Truncated File Read"):
            decode_image(bytes(data))  # so Pillow does warn
        spec.loader.exec_module(again)  # sets its filter, as the first import does
        assert again.decode_with_pillow(bytes(data), "TIFF", MAX_PIXELS).width == 96


def test_decode_gives_the_same_in_many_threads():
    images = list(samples()) * 4
    alone = [decode_image(data) for data in images]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(decode_image, images))

    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.array, other.array)
        assert one.flags == other.flags


# --- Bands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "1", "CMYK"])
def test_decode_joins_bands_without_a_seam(monkeypatch, mode):
    image = Image.fromarray(np.dstack([PHOTO, ALPHA])).convert("RGB" if mode == "CMYK" else "RGBA")
    kind = "TIFF" if mode == "CMYK" else "PNG"
    data = encode(image.convert(mode), kind)
    whole = decode_image(data).array

    monkeypatch.setattr("model_repo.inception_v3.decoding.rgb._BAND_PIXELS", 96 * 7)

    np.testing.assert_array_equal(decode_image(data).array, whole)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_decode_turns_bands_as_it_turns_the_whole(monkeypatch, orientation, mode):
    data = encode(Image.fromarray(PHOTO).convert(mode), "JPEG", orientation=orientation)
    whole = decode_image(data).array

    monkeypatch.setattr("model_repo.inception_v3.decoding.rgb._BAND_PIXELS", 96 * 7)

    np.testing.assert_array_equal(decode_image(data).array, whole)


# --- What lies beside the pixels ------------------------------------------------------------------


def test_decode_refuses_tiles_beyond_the_limit():
    data = bytearray(encode(PHOTO, "TIFF"))
    at = struct.unpack_from("<I", data, 4)[0] + 2
    struct.pack_into("<HHIIHHII", data, at, 322, 4, 1, 20_000, 323, 4, 1, 20_000)

    with pytest.raises(DecodeError) as caught:
        decode_image(bytes(data))

    assert caught.value.kind == "too_large"
    assert "tiles of 20000 x 20000 pixels exceed the limit" in str(caught.value)


def test_decode_refuses_a_png_of_countless_chunks():
    data = encode(PHOTO, "PNG")
    chunks = png_chunk(b"teSt", b"")

    assert decode_image(data[:33] + chunks * 1000 + data[33:]).width == 96
    with pytest.raises(
        DecodeError, match="PNG with more than 200,000 chunks besides the image data"
    ):
        decode_image(data[:33] + chunks * (MAX_PARTS + 1) + data[33:])
