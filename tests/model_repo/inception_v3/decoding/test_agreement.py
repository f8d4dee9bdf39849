"""Where independent decoders agree on the pixels of an image that is made up, ours agrees."""

import struct
import zlib
from itertools import combinations

import numpy as np
import pytest
import simplejpeg
from hypothesis import event, given, settings
from hypothesis import strategies as st
from PIL import Image

from model_repo.inception_v3.decoding.decode import decode_image
from model_repo.inception_v3.errors import DecodeError
from tests.support.bmps import SIZES, bmp
from tests.support.images import encode, photo, png, png_chunk, with_exif
from tests.support.other_decoders import IMAGEMAGICK, by_imagemagick, by_opencv, by_pillow
from tests.support.tiffs import DEFLATE, LZW, NONE, PACKBITS, tiff

pytestmark = pytest.mark.skipif(not IMAGEMAGICK, reason="ImageMagick is not installed")

# The same pictures in each run: where decoders disagree, they do so for everybody. Many more, which
# take ten minutes, with: pytest --long tests/model_repo/inception_v3/decoding/test_agreement.py
SAME = settings(derandomize=True)
FEW = settings(SAME, max_examples=max(1, SAME.max_examples // 5))  # where encoding is slow

photos = st.builds(photo, st.integers(8, 70), st.integers(8, 50), st.integers(0, 9))
orientations = st.integers(1, 8)


def is_close(one, other):
    return one is not None and one.shape == other.shape and _difference(one, other) < 3


def _difference(one, other):
    return np.abs(one.astype(float) - other).mean()


def assert_agreed(data):
    """Two of the others agree with us, or no two with each other."""
    others = [by_pillow(data), by_opencv(data)]
    try:
        ours = decode_image(data).array
    except DecodeError as exc:
        ours = None
        event(f"refused: {exc}"[:60])
    if ours is not None and all(is_close(other, ours) for other in others):
        return
    others.append(by_imagemagick(data))
    seen = [other for other in others if other is not None]
    if ours is not None and sum(is_close(other, ours) for other in seen) >= 2:
        return
    agreed = [one for one, other in combinations(seen, 2) if is_close(one, other)]
    event(f"{len(agreed)} pairs of others agree")
    assert not agreed or (ours is not None and is_close(agreed[0], ours))


@st.composite
def exif_blocks(draw):
    """An EXIF block: of either byte order, with or without an orientation, whole or cut."""
    order = draw(st.sampled_from("<>"))
    tags = [(271, 2, 4, b"abc\0"), (274, 3, 1, struct.pack(order + "HH", draw(orientations), 0))]
    tags = tags[: draw(st.integers(1, 2))]
    body = struct.pack(order + "2sHIH", {"<": b"II", ">": b"MM"}[order], 42, 8, len(tags))
    body += b"".join(struct.pack(order + "HHI", *tag[:3]) + tag[3] for tag in tags) + bytes(4)
    return b"Exif\0\0" + body


@st.composite
def jpegs(draw):
    pixels = np.ascontiguousarray(draw(photos))
    quality = draw(st.integers(80, 97))
    match draw(st.sampled_from(["simple", "progressive", "gray", "cmyk"])):
        case "simple":
            sampling = draw(st.sampled_from(["444", "422", "420", "440", "411"]))
            data = simplejpeg.encode_jpeg(pixels, quality, "RGB", sampling)
        case "progressive":
            data = encode(pixels, "JPEG", quality=quality, progressive=True, subsampling=0)
        case "gray":
            data = encode(pixels[:, :, 0], "JPEG", quality=quality)
        case _:
            data = encode(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=quality)
    segments = draw(st.lists(exif_blocks() | st.sampled_from(OTHER_SEGMENTS), max_size=3))
    for segment in segments:
        data = with_exif(data, segment)
    stray = draw(st.sampled_from([b"", b"\0", b"\0\0\0", b"\x80\x01"]))
    match draw(st.sampled_from(["before the tables", "before the end", "no end"])):
        case "before the tables":
            at = data.index(b"\xff\xdb")
            return data[:at] + stray + data[at:]
        case "before the end":
            return data[:-2] + stray + data[-2:]
        case _:
            return data[:-2]


OTHER_SEGMENTS = [b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0<x/>", b"", b"\0" * 40]


@SAME
@given(jpegs())
def test_jpeg(data):
    assert_agreed(data)


CHUNKS = [
    png_chunk(b"pHYs", b"\0"),
    png_chunk(b"gAMA", b"\0\0\xb1\x8f"),
    png_chunk(b"zTXt", b"prompt\0\0" + zlib.compress(bytes(2 << 20))),
    png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"none")),
    png_chunk(b"tEXt", b"a\0b")[:-1] + b"!",
    png_chunk(b"tIME", bytes(7)),
]


@st.composite
def pngs(draw):
    pixels = draw(photos)
    color = draw(st.sampled_from([0, 2, 4, 6]))
    bits = draw(st.sampled_from([1, 2, 4, 8, 16] if color == 0 else [8, 16]))
    alpha = np.roll(pixels[:, :, :1], 5, axis=0) | draw(st.sampled_from([0, 255]))
    layers = {0: [pixels[:, :, :1]], 2: [pixels], 4: [pixels[:, :, :1], alpha], 6: [pixels, alpha]}
    samples = np.dstack(layers[color]).astype(int) * 257 >> (16 - bits)
    key = b""
    if color in (0, 2) and bits == 8 and draw(st.booleans()):  # others mistake it elsewhere
        key = struct.pack(f">{color + 1}H", *samples[0, 0])
    data = png(samples, bits, color, key)
    extra = draw(st.lists(st.sampled_from(CHUNKS), max_size=3))
    if draw(st.booleans()):
        extra.append(png_chunk(b"eXIf", draw(exif_blocks())[6:]))
    return data[:33] + b"".join(extra) + data[33:]


@SAME
@given(pngs())
def test_png(data):
    assert_agreed(data)


@st.composite
def palettes(draw):
    image = Image.fromarray(draw(photos)).quantize(draw(st.sampled_from([2, 3, 16, 200])))
    options = {"transparency": draw(st.integers(0, 2))} if draw(st.booleans()) else {}
    if draw(st.booleans()):
        options |= {"save_all": True, "append_images": [image.rotate(180)]}
    return encode(image, draw(st.sampled_from(["GIF", "PNG"])), **options)


@SAME
@given(palettes())
def test_palettes_of_gif_and_png(data):
    assert_agreed(data)


@st.composite
def bmps(draw):
    pixels = draw(photos).astype(np.int64)
    bits = draw(st.sampled_from([1, 4, 8, 16, 24, 32]))
    header = draw(st.sampled_from(SIZES[1:]))
    top_down = draw(st.booleans())
    if bits <= 8:
        colors = draw(st.integers(2, 1 << bits))
        table = np.random.default_rng(colors).integers(0, 256, (colors, 3)).astype(np.uint8)
        values = pixels[:, :, 0] * colors >> 8
        return bmp(values, bits, header=header, palette=table, top_down=top_down)
    values = pixels[:, :, 0] << 16 | pixels[:, :, 1] << 8 | pixels[:, :, 2]
    masks = ()
    if bits == 16:
        values = pixels[:, :, 0] >> 3 << 10 | pixels[:, :, 1] >> 3 << 5 | pixels[:, :, 2] >> 3
    elif bits == 32 and header >= 108 and draw(st.booleans()):
        masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        values |= np.roll(pixels[:, :, 0], 5, axis=0) << 24
    return bmp(values, bits, header=header, masks=masks, top_down=top_down)


@SAME
@given(bmps())
def test_bmp(data):
    assert_agreed(data)


@st.composite
def tiffs(draw):
    pixels = draw(photos)
    alpha = np.roll(pixels[:, :, :1], 5, axis=0)
    samples, photometric, extra = draw(
        st.sampled_from(
            [
                (pixels[:, :, :1], 0, None),
                (pixels[:, :, :1], 1, None),
                (pixels, 2, None),
                (np.dstack([pixels, alpha]), 2, 2),
                (np.dstack([np.minimum(pixels, alpha), alpha]), 2, 1),
                (np.dstack([pixels, alpha // 3]), 5, None),
            ]
        )
    )
    bits = draw(st.sampled_from([8, 16] if samples.shape[2] > 1 else [1, 2, 4, 8, 16]))
    compression = draw(st.sampled_from([NONE, LZW, DEFLATE, PACKBITS]))
    layout = {"bits": bits, "compression": compression, "big": draw(st.booleans())}
    layout |= {"planar": draw(st.booleans()), "tags": {274: [draw(orientations)]}}
    layout |= draw(st.sampled_from([{}, {"rows": 5}, {"tile": 16}]))
    if compression in (LZW, DEFLATE) and bits >= 8:
        layout["predictor"] = draw(st.sampled_from([1, 2]))
    deep = (samples.astype(np.uint16) * 257 >> (16 - bits)).astype("u2" if bits > 8 else "u1")
    return tiff(deep, photometric, draw(st.sampled_from("<>")), extra, **layout)


@SAME
@given(tiffs())
def test_tiff(data):
    assert_agreed(data)


@FEW
@given(st.data())
@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "HEIF", "JPEG2000"])
def test_newer_formats(kind, data):
    pixels = data.draw(photos)
    mode = data.draw(st.sampled_from(["RGB", "RGBA", "L"]))
    image = Image.fromarray(pixels)
    if mode != "RGB":
        alpha = np.roll(pixels[:, :, :1], 5, axis=0)
        image = Image.fromarray(np.dstack([pixels, alpha])).convert(mode)
    options = {} if kind == "JPEG2000" else {"quality": data.draw(st.integers(85, 100))}
    if kind in ("WEBP", "AVIF"):
        options["orientation"] = data.draw(orientations)
    assert_agreed(encode(image, kind, **options))
