"""The samples of a TIFF, whatever its layout, reduced to 8 bits; libtiff only decompresses."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

from model_repo.inception_v3.decoding.tiff_layout import PALETTE, Segment, TiffLayout
from model_repo.inception_v3.errors import DecodeError
from model_repo.inception_v3.spec import Pixels

_NONE, _DEFLATE = 1, (8, 32946)
READ = (_NONE, 5, 8, 32946, 32773, 34925, 50000)  # and LZW, deflate, PackBits, LZMA, Zstandard
_GROUP_BYTES = 1 << 20  # decompressed together, and reduced together


def read_samples(data: bytes, layout: TiffLayout) -> Pixels:
    """Return uint8 [H, W, channels]: the colors, and alpha if there is any."""
    kept = layout.channels
    samples = np.empty((layout.height, layout.width, len(kept)), np.uint8)
    for segment, rows in _decompressed(data, layout):
        for band in _bands(segment, layout):
            start = band.top - segment.top
            part = _reduced(rows[start : start + band.rows], layout)
            target = samples[band.top : band.top + band.rows, segment.left :]
            part = part[: len(target), : target.shape[1]]
            target = target[:, : part.shape[1]]
            if layout.planar:
                target[:, :, kept.index(segment.channel)] = part[:, :, 0]
            else:
                target[:] = part if part.shape[2] == len(kept) else part[:, :, kept]
    return samples


def _bands(segment: Segment, layout: TiffLayout) -> Iterator[Segment]:
    """Cut a strip or tile into parts of few bytes."""
    step = max(1, _GROUP_BYTES // layout.row_bytes)
    for start in range(0, segment.rows, step):
        rows = min(step, segment.rows - start)
        yield replace(segment, top=segment.top + start, rows=rows)


def _reduced(rows: Pixels, layout: TiffLayout) -> Pixels:
    """Return uint8 [rows, width, channels] of packed bytes [rows, row_bytes]."""
    channels = 1 if layout.planar else layout.samples
    shape = (len(rows), layout.segment_size[0], channels)
    if layout.bits == 16:
        wide = rows.view(layout.order + "u2").reshape(shape)
        if layout.predictor == 2:
            wide = np.add.accumulate(wide, axis=1, dtype=np.uint16)
        return (wide >> 8).astype(np.uint8)
    if layout.bits == 8:
        narrow = rows.reshape(shape)
        return np.add.accumulate(narrow, 1, np.uint8) if layout.predictor == 2 else narrow
    count = shape[1] * channels
    bits = np.unpackbits(rows, axis=1, count=count * layout.bits)
    # The upper 8 bits of each sample, or all that there are, to the left of a byte.
    packed = np.packbits(bits.reshape(len(rows), count, layout.bits)[:, :, :8], axis=2)[:, :, 0]
    if layout.bits < 8:
        packed >>= 8 - layout.bits
        if layout.photometric != PALETTE:
            packed *= 255 // (2**layout.bits - 1)
    return packed.reshape(shape)


def _decompressed(data: bytes, layout: TiffLayout) -> Iterator[tuple[Segment, Pixels]]:
    """Yield each strip or tile with its uint8 [rows, row_bytes]."""
    group: list[Segment] = []
    for segment in layout.segments():
        if layout.planar and segment.channel not in layout.channels:
            continue
        if layout.compression == _NONE and not layout.bits_reversed:
            yield (
                segment,
                _rows(_cut(data, segment.offset, _size(segment, layout)), segment, layout),
            )
        elif layout.compression in _DEFLATE and not layout.bits_reversed:
            packed = _cut(data, segment.offset, segment.length)
            raw = zlib.decompressobj().decompress(packed, _size(segment, layout))
            yield segment, _rows(raw, segment, layout)
        else:
            full = len(group) * _size(segment, layout) > _GROUP_BYTES
            if group and (full or group[-1].rows != segment.rows):
                yield from _by_libtiff(data, layout, group)
                group = []
            group.append(segment)
    if group:
        yield from _by_libtiff(data, layout, group)


def _size(segment: Segment, layout: TiffLayout) -> int:
    return segment.rows * layout.row_bytes


def _cut(data: bytes, start: int, length: int) -> memoryview:
    return memoryview(data)[start : start + length]


def _rows(raw: bytes | memoryview, segment: Segment, layout: TiffLayout) -> Pixels:
    if len(raw) < _size(segment, layout):
        message = (
            f"TIFF cut short: {len(raw)} of {_size(segment, layout)} bytes at row {segment.top}"
        )
        raise DecodeError("unreadable", message)
    return np.frombuffer(raw, np.uint8).reshape(segment.rows, layout.row_bytes)


def _by_libtiff(
    data: bytes, layout: TiffLayout, group: list[Segment]
) -> Iterator[tuple[Segment, Pixels]]:
    """Decompress segments of as many rows as strips of a gray picture of their bytes."""
    with TiffImageFile(io.BytesIO(_gray_tiff(data, layout, group))) as image:
        image.load()
        start = 0
        for segment in group:
            for part in _bands(segment, layout):
                box = (0, start, layout.row_bytes, start + part.rows)
                yield part, np.asarray(image.crop(box))
                start += part.rows


def _gray_tiff(data: bytes, layout: TiffLayout, group: list[Segment]) -> bytes:
    rows = group[0].rows
    packed = [_cut(data, segment.offset, segment.length) for segment in group]
    tags = {256: layout.row_bytes, 257: rows * len(group), 258: 8, 259: layout.compression}
    tags |= {262: 1, 266: 2 if layout.bits_reversed else 1, 277: 1, 278: rows}
    count = len(group)
    arrays = 8 + 2 + 12 * (len(tags) + 2) + 4
    body = arrays + 8 * count
    ends = np.cumsum([len(each) for each in packed])
    offsets = [body, *(body + ends[:-1]).tolist()]
    lengths = [len(each) for each in packed]
    values = {tag: (1, value) for tag, value in tags.items()}
    values |= {273: (count, arrays), 279: (count, arrays + 4 * count)}
    if count == 1:
        values |= {273: (1, offsets[0]), 279: (1, lengths[0])}
    entries = [struct.pack("<HHII", tag, 4, *value) for tag, value in sorted(values.items())]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + b"".join(entries) + bytes(4)
    return b"".join([head, struct.pack(f"<{2 * count}I", *offsets, *lengths), *packed])
