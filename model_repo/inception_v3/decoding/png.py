"""The chunks of a PNG: what its pixels need is checked, and what lies beside them is left out."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from model_repo.inception_v3.decoding.decoded import MAX_PARTS
from model_repo.inception_v3.decoding.exif import exif_orientation
from model_repo.inception_v3.errors import DecodeError

_FOR_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_BEFORE_PIXELS = (b"PLTE", b"tRNS")  # ignored behind them, as by libpng
_ABOUT_FRAMES = (b"acTL", b"fcTL")
_TEXTS = (b"tEXt", b"zTXt")
_PASSES = (  # of Adam7: the first column and row, and the steps from there
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PIECE_BYTES = 1 << 20
_PROFILES = (b"Raw profile type exif\0", b"Raw profile type APP1\0")
_MAX_PROFILE_BYTES = 1 << 18  # as text; EXIF itself has 64 KiB at the most


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    end: int
    sound: bool  # all there, and its checksum is right


@dataclass(frozen=True, slots=True)
class SiftedPng:
    """A PNG reduced to its first picture.

    Attributes:
        data: what is to be decoded; the very bytes given, if there is nothing to leave out.
        orientation: 1 to 8.
        animated: has more than one frame.
        repaired: something that the pixels do not need is damaged or missing.
    """

    data: bytes
    orientation: int
    animated: bool
    repaired: bool


def sift_png(data: bytes) -> SiftedPng:
    """Leave out the chunks that the first picture does not need: they may be odd, or huge.

    Raises:
        DecodeError: a checksum of the header, the palette or the pixels is wrong, there are no
            pixels, or there are absurdly many chunks besides them.
    """
    kept, frames, about_orientation = [[0, 8]], [], dict[bytes, _Chunk]()
    pixels_seen = ended = repaired = False
    for chunk in _chunks(data):
        repaired |= not chunk.sound
        if chunk.kind == b"CgBI":
            raise DecodeError(
                "unreadable", "PNG as only iOS reads it (CgBI) is not read; convert it"
            )
        if chunk.kind in _FOR_PIXELS and not (pixels_seen and chunk.kind in _BEFORE_PIXELS):
            _keep(chunk, kept, len(data))
            pixels_seen |= chunk.kind == b"IDAT"
            ended = chunk.kind == b"IEND"
        elif chunk.kind in _ABOUT_FRAMES and chunk.sound and not pixels_seen:
            frames.append(chunk)
        elif _is_exif(data, chunk):
            about_orientation.setdefault(chunk.kind, chunk)
    if not pixels_seen:
        raise DecodeError("unreadable", "PNG without image data")
    return SiftedPng(
        data if len(kept) == 1 else b"".join(data[start:end] for start, end in kept),
        _orientation(data, about_orientation.values()),
        _is_animated(data, frames),
        repaired or not ended,
    )


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Yield the chunks until the end of the picture, or until something that is none."""
    position, others, view = 8, 0, memoryview(data)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if not kind.isalpha():
            return
        others += kind != b"IDAT"
        if others > MAX_PARTS:
            message = f"PNG with more than {MAX_PARTS:,} chunks besides the image data"
            raise DecodeError("unreadable", message)
        end = position + 12 + length
        stated = data[end - 4 : end]
        sound = end <= len(data) and zlib.crc32(view[position + 4 : end - 4]) == int.from_bytes(
            stated, "big"
        )
        yield _Chunk(kind, position, end, sound)
        if kind == b"IEND":
            return
        position = end


def _keep(chunk: _Chunk, kept: list[list[int]], total: int) -> None:
    """Add a chunk to the ranges that are kept; its decoder reports one that is cut short."""
    if not chunk.sound and chunk.end <= total and chunk.kind != b"IEND":
        message = f"PNG checksum mismatch in the chunk at byte {chunk.start}"
        raise DecodeError("unreadable", message)
    if chunk.start == kept[-1][1]:
        kept[-1][1] = chunk.end
    else:
        kept.append([chunk.start, chunk.end])


def _is_animated(data: bytes, chunks: list[_Chunk]) -> bool:
    frames = [
        int.from_bytes(data[chunk.start + 8 : chunk.start + 12], "big")
        for chunk in chunks
        if chunk.kind == b"acTL" and chunk.end - chunk.start == 20
    ]
    # Without a frame's control before them, the pixels are a picture of their own.
    return bool(frames) and frames[0] + (len(chunks) == len(frames)) > 1


def _is_exif(data: bytes, chunk: _Chunk) -> bool:
    if chunk.kind in _TEXTS:
        return chunk.sound and data.startswith(_PROFILES, chunk.start + 8)
    return chunk.sound and chunk.kind == b"eXIf"


def _orientation(data: bytes, chunks: Iterable[_Chunk]) -> int:
    """Return what EXIF says, in the chunk for it or, as ImageMagick writes it, as text."""
    for chunk in sorted(chunks, key=lambda chunk: chunk.kind != b"eXIf"):
        body = data[chunk.start + 8 : chunk.end - 4]
        exif = body if chunk.kind == b"eXIf" else _raw_profile(chunk.kind, body)
        orientation = exif_orientation(exif)
        if orientation != 1:
            return orientation
    return 1


def _raw_profile(kind: bytes, body: bytes) -> bytes:
    """Return EXIF that is written as hexadecimal digits behind a name and a length."""
    text = body.partition(b"\0")[2]
    try:
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], _MAX_PROFILE_BYTES)
        return bytes.fromhex("".join(text.decode("ascii").split("\n")[3:]))
    except (zlib.error, ValueError):
        return b""


def check_png_rows(data: bytes) -> None:
    """Make sure that the compressed data has all rows; Pillow leaves missing ones black.

    Raises:
        DecodeError: it ends early.
    """
    width, height, bits, color, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    sizes = [(width, height)]
    if interlaced:
        sizes = [
            (-(-(width - left) // across), -(-(height - top) // down))
            for left, top, across, down in _PASSES
            if width > left and height > top
        ]
    row_bits = bits * _CHANNELS[color]
    missing = sum(rows * (1 + (row_bits * columns + 7) // 8) for columns, rows in sizes)
    inflate = zlib.decompressobj()
    for chunk in _chunks(data):
        packed = data[chunk.start + 8 : chunk.end - 4] if chunk.kind == b"IDAT" else b""
        while packed and missing > 0:
            missing -= len(inflate.decompress(packed, _PIECE_BYTES))
            packed = inflate.unconsumed_tail
    if missing > 0:
        raise DecodeError("unreadable", f"PNG whose image data lacks {missing:,} bytes")
