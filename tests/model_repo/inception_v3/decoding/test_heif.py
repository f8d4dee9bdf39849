import io
import struct
import subprocess
import sys

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from model_repo.inception_v3.decoding.decode import decode_image
from model_repo.inception_v3.errors import DecodeError
from tests.support.decoding import ALPHA, OTHER, PHOTO, on_white
from tests.support.images import encode

KINDS = ["AVIF", "HEIF"]
SMOOTH = np.asarray(Image.fromarray(PHOTO).resize((12, 9)).resize((96, 72), 3))


def is_near(array, expected):
    return array.shape == expected.shape and np.abs(array.astype(float) - expected).mean() < 3


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_and_alpha_are_read(kind):
    assert is_near(decode_image(encode(SMOOTH, kind)).array, SMOOTH)
    assert decode_image(encode(SMOOTH, kind)).flags == ()

    decoded = decode_image(encode(np.dstack([SMOOTH, ALPHA]), kind))

    assert is_near(decoded.array, on_white(SMOOTH, ALPHA))
    assert decoded.flags == ("alpha",)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_once(orientation):
    image = Image.fromarray(SMOOTH)
    image.getexif()[0x112] = orientation
    exif = image.getexif().tobytes()
    upright = decode_image(encode(SMOOTH, "PNG", exif=exif)).array
    avif = encode(SMOOTH, "AVIF", exif=exif)
    image.info["exif"] = exif  # from here, what writes HEIC makes it the container's own
    heic = encode(image, "HEIF")

    for data in (avif, heic):
        assert is_near(decode_image(data).array, upright)
        assert decode_image(data).flags == (("exif_rotated",) if orientation > 1 else ())


def test_exif_alone_turns_no_heic():
    decoded = decode_image(encode(SMOOTH, "HEIF", orientation=6))

    assert is_near(decoded.array, SMOOTH)
    assert decoded.flags == ()


@pytest.mark.parametrize("bits", [10, 12])
def test_more_than_eight_bits_are_reduced(bits, monkeypatch):
    monkeypatch.setattr("pillow_heif.options.SAVE_HDR_TO_12_BIT", bits == 12)
    wide, file = SMOOTH.astype(np.uint16) * 257, io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (96, 72), wide.tobytes()).save(file)

    decoded = decode_image(file.getvalue())

    assert is_near(decoded.array, SMOOTH)
    assert decoded.flags == ("sixteen_bit",)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_of_several_frames_counts(kind):
    frames = [Image.fromarray(array) for array in (SMOOTH, OTHER)]

    decoded = decode_image(encode(frames[0], kind, save_all=True, append_images=frames[1:]))

    assert is_near(decoded.array, SMOOTH)
    assert decoded.flags == ("animated",)


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_pixels_are_refused_by_the_header(kind):
    data = bytearray(encode(SMOOTH, kind))
    at = data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", 16_000, 16_000)

    with pytest.raises(DecodeError, match="16000 x 16000 pixels exceed the limit") as caught:
        decode_image(bytes(data))

    assert caught.value.kind == "too_large"


def test_without_its_library_heic_is_refused_with_what_to_do():
    code = """
import sys
sys.modules["pillow_heif"] = None
from model_repo.inception_v3.decoding.decode import decode_image
try:
    decode_image(bytes.fromhex(sys.argv[1]))
except Exception as exc:
    print(exc.kind, exc)
"""
    data = encode(SMOOTH, "HEIF").hex()

    done = subprocess.run(
        [sys.executable, "-c", code, data], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.startswith("unreadable HEIC is read with pillow-heif alone: pip install")
