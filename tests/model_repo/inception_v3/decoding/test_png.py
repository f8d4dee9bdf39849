import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from model_repo.inception_v3.decoding.decode import decode_image
from model_repo.inception_v3.decoding.png import sift_png
from model_repo.inception_v3.errors import DecodeError
from tests.support.decoding import ALPHA, OTHER, PHOTO, assert_close
from tests.support.images import encode, png_chunk

PLAIN = encode(PHOTO, "PNG")
EXIF = b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"  # orientation 6
HEX = EXIF.hex().encode()
RAW_PROFILE = b"\nexif\n      %d\n%s\n%s\n" % (len(EXIF), HEX[:40], HEX[40:])


def insert(*chunks, png=PLAIN, behind=b"IHDR"):
    at = png.index(behind) - 4
    (length,) = struct.unpack_from(">I", png, at)
    at += length + 12
    return png[:at] + b"".join(chunks) + png[at:]


def wrong(chunk):
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


ODD = {
    "short pHYs": png_chunk(b"pHYs", b"\0\0"),
    "short gAMA": png_chunk(b"gAMA", b"\0"),
    "short cHRM": png_chunk(b"cHRM", bytes(7)),
    "empty sRGB": png_chunk(b"sRGB", b""),
    "empty iCCP": png_chunk(b"iCCP", b""),
    "profile without a name": png_chunk(b"iCCP", b"x\0\7"),
    "text in an unknown compression": png_chunk(b"zTXt", b"key\0\7abc"),
    "megabytes of text": png_chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(3 << 20))),
    "megabytes of iTXt": png_chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(bytes(3 << 20))),
    "many texts": png_chunk(b"tEXt", b"k\0" + b"x" * (1 << 20)) * 66,
    "a megabyte of profile": png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(3 << 20))),
    "short acTL": png_chunk(b"acTL", b"\0"),
    "short fcTL": png_chunk(b"fcTL", b"\0"),
    "suggested palette": png_chunk(b"PLTE", bytes(30)),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("behind", [b"IHDR", b"IDAT"])
def test_what_the_pixels_do_not_need_is_left_out(name, behind):
    decoded = decode_image(insert(ODD[name], behind=behind))

    np.testing.assert_array_equal(decoded.array, PHOTO)
    assert decoded.flags == ()


@pytest.mark.parametrize("kind", [b"tEXt", b"iCCP", b"pHYs", b"gAMA", b"cHRM", b"eXIf", b"teSt"])
def test_a_wrong_checksum_beside_the_pixels_is_passed_over_and_said(kind):
    decoded = decode_image(insert(wrong(png_chunk(kind, EXIF))))

    np.testing.assert_array_equal(decoded.array, PHOTO)
    assert decoded.flags == ("repaired",)


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"tRNS", b"IDAT"])
def test_a_wrong_checksum_of_what_the_pixels_need_is_damage(kind):
    data = bytearray(encode(Image.fromarray(PHOTO).quantize(16), "PNG", transparency=3))
    at = data.index(kind) - 4
    (length,) = struct.unpack_from(">I", data, at)
    data[at + 11 + length] ^= 1

    with pytest.raises(DecodeError, match=f"PNG checksum mismatch in the chunk at byte {at}"):
        decode_image(bytes(data))


@pytest.mark.parametrize(
    ("data", "flags"),
    [
        (PLAIN[:-12], ("repaired",)),
        (PLAIN[:-3], ("repaired",)),
        (wrong(PLAIN), ("repaired",)),
        (PLAIN[:-12] + b"\0\0\0\5!!!!garbage", ("repaired",)),
        (PLAIN + b"what a web server appended", ()),
        (PLAIN + PLAIN, ()),
    ],
    ids=["no end", "half an end", "wrong end", "garbage", "appended", "twice"],
)
def test_all_pixels_are_there_whatever_the_end(data, flags):
    decoded = decode_image(data)

    np.testing.assert_array_equal(decoded.array, PHOTO)
    assert decoded.flags == flags


def test_a_plain_png_is_not_copied():
    assert sift_png(PLAIN).data is PLAIN
    assert sift_png(PLAIN + b"appended").data.startswith(PLAIN)


def test_without_pixels_it_says_so():
    with pytest.raises(DecodeError, match="PNG without image data"):
        decode_image(PLAIN[:33] + png_chunk(b"IEND", b""))


def test_what_only_ios_reads_is_named():
    with pytest.raises(DecodeError, match="as only iOS reads it"):
        decode_image(PLAIN[:8] + png_chunk(b"CgBI", bytes(4)) + PLAIN[8:])


def test_a_transparent_color_behind_the_pixels_is_ignored():
    late = png_chunk(b"tRNS", struct.pack(">3H", *PHOTO[0, 0]))

    decoded = decode_image(insert(late, behind=b"IDAT"))

    np.testing.assert_array_equal(decoded.array, PHOTO)
    assert decoded.flags == ()


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"eXIf", EXIF),
        png_chunk(b"tEXt", b"Raw profile type exif\0" + RAW_PROFILE),
        png_chunk(b"tEXt", b"Raw profile type APP1\0\nexif\n 32\n" + b"457869660000" + HEX),
        png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(RAW_PROFILE)),
    ],
    ids=["eXIf", "text", "text of an APP1", "compressed text"],
)
@pytest.mark.parametrize("behind", [b"IHDR", b"IDAT"])
def test_exif_is_read_wherever_it_is(chunk, behind):
    decoded = decode_image(insert(chunk, behind=behind))

    np.testing.assert_array_equal(decoded.array, np.rot90(PHOTO, -1))
    assert decoded.flags == ("exif_rotated",)


@pytest.mark.parametrize("body", [b"\nexif\n 4\nnot hex\n", b"", b"\nexif\n", b"\xff\xfe"])
def test_a_profile_that_is_none_turns_nothing(body):
    decoded = decode_image(insert(png_chunk(b"tEXt", b"Raw profile type exif\0" + body)))

    assert decoded.flags == ()


def test_an_animation_may_begin_with_a_picture_of_its_own():
    frames = [Image.fromarray(OTHER)]
    options = {"save_all": True, "append_images": frames, "default_image": True}

    decoded = decode_image(encode(PHOTO, "PNG", **options))

    np.testing.assert_array_equal(decoded.array, PHOTO)
    assert decoded.flags == ("animated",)


def test_alpha_is_flagged_where_some_pixel_is_not_opaque():
    opaque = np.full_like(ALPHA, 255)
    nearly = opaque.copy()
    nearly[-1, -1] = 254

    assert decode_image(encode(np.dstack([PHOTO, opaque]), "PNG")).flags == ()
    assert decode_image(encode(np.dstack([PHOTO, nearly]), "PNG")).flags == ("alpha",)
    assert_close(decode_image(encode(np.dstack([PHOTO, opaque]), "PNG")).array, PHOTO, 0)


def test_a_transparent_color_that_no_pixel_has_is_no_alpha():
    image = Image.fromarray(PHOTO).quantize(15)

    assert decode_image(encode(image, "PNG", transparency=15)).flags == ()
    assert decode_image(encode(image, "PNG", transparency=0)).flags == ("alpha",)


def test_text_is_kept_out_of_pillow_s_sight():
    info = PngInfo()
    info.add_text("Raw profile type exif", "x" * 10)
    info.add_text("comment", "y" * 100)
    data = encode(PHOTO, "PNG", pnginfo=info)

    assert b"comment" not in sift_png(data).data


@pytest.mark.parametrize("interlaced", [0, 1])
def test_rows_that_are_missing_in_sound_chunks_are_noticed(interlaced):
    header = struct.pack(">IIBBBBB", 96, 64, 8, 0, 0, 0, interlaced)
    rows = zlib.compress(bytes(97 * 40))
    parts = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", rows), png_chunk(b"IEND", b""))

    with pytest.raises(DecodeError, match=r"lacks 2,328 bytes|is truncated") as caught:
        decode_image(PLAIN[:8] + b"".join(parts))

    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_picture_that_ends_in_one_color_is_whole(mode):
    assert decode_image(encode(Image.new(mode, (301, 77)), "PNG")).width == 301
