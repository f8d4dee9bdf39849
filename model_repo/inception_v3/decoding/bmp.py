"""BMP, of which Pillow reads some palettes wrongly, and few layouts of 16 or 32 bits."""

import struct
from dataclasses import dataclass

import numpy as np

from model_repo.inception_v3.decoding.decoded import Decoded, check_size, finish
from model_repo.inception_v3.decoding.rgb import samples_to_rgb
from model_repo.inception_v3.errors import DecodeError
from model_repo.inception_v3.spec import Pixels

_RGB, _RLE8, _RLE4, _BIT_FIELDS, _ALPHA_BIT_FIELDS = 0, 1, 2, 3, 6
_OS2 = (12, 64)  # sizes of its headers
_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_BAND_PIXELS = 1 << 20


@dataclass(frozen=True, slots=True)
class _Header:
    width: int
    height: int
    top_down: bool
    bits: int
    compression: int
    masks: tuple[int, ...]  # of red, green, blue and alpha
    palette: Pixels  # [colors, 3]
    offset: int

    @property
    def row_bytes(self) -> int:
        return (self.width * self.bits + 31) // 32 * 4


def decode_bmp(data: bytes, max_pixels: int) -> Decoded:
    """Decode a BMP; see `decode_image`."""
    header = _read_header(data)
    check_size(header.width, header.height, max_pixels)
    if header.compression in (_RLE8, _RLE4):
        samples = np.take(header.palette, _read_runs(data, header), axis=0)
    else:
        samples = _read_samples(data, header)
    see_through = False
    if samples.shape[2] == 4:
        if not samples[:, :, 3].any():  # nobody filled it in
            samples[:, :, 3] = 255
        samples, see_through = samples_to_rgb(samples, "RGBA")
    flags = {"alpha"} if see_through else set()
    return finish(samples, (header.width, header.height), 1, flags)


def _read_header(data: bytes) -> _Header:
    offset, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression, colors = _RGB, 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        (colors,) = struct.unpack_from("<I", data, 46)
    is_masked = compression in (_BIT_FIELDS, _ALPHA_BIT_FIELDS) and size not in _OS2
    if not (
        compression == _RGB
        or (is_masked and bits in _MASKS)
        or (compression, bits) in ((_RLE8, 8), (_RLE4, 4))
    ):
        message = f"BMP with compression {compression} of {bits} bits is not read; convert it"
        raise DecodeError("unreadable", message)
    if bits not in (1, 2, 4, 8, 16, 24, 32):
        raise DecodeError("unreadable", f"BMP of {bits} bits per pixel")
    masks, behind = _MASKS.get(bits, ()), 14 + size
    if is_masked:
        has_alpha = size >= 56 or compression == _ALPHA_BIT_FIELDS
        masks = struct.unpack_from("<4I" if has_alpha else "<3I", data, 54)
        behind = max(behind, 54 + 4 * len(masks))
        if not any(masks[:3]):
            masks = _MASKS[bits]
    entry, most = (3 if size == 12 else 4), 1 << bits if bits <= 8 else 0
    count = min(colors or most, most)
    table = data[behind : behind + entry * count]
    palette = np.frombuffer(table.ljust(entry * most, b"\0"), np.uint8).reshape(most, entry)
    palette = palette[:, 2::-1]
    offset = offset or behind + entry * count
    return _Header(width, abs(height), height < 0, bits, compression, masks, palette, offset)


def _read_samples(data: bytes, header: _Header) -> Pixels:
    """Return uint8 [H, W, 3], or 4 with alpha."""
    channels = 4 if len(header.masks) == 4 and header.masks[3] else 3
    samples = np.empty((header.height, header.width, channels), np.uint8)
    target = samples if header.top_down else samples[::-1]
    missing = header.row_bytes - (header.width * header.bits + 7) // 8  # padding may be left out
    if header.offset + header.row_bytes * header.height - missing > len(data):
        raise DecodeError("unreadable", f"BMP cut short: {len(data):,} bytes")
    step = max(1, _BAND_PIXELS // header.width)
    for top in range(0, header.height, step):
        rows = min(step, header.height - top)
        start = header.offset + top * header.row_bytes
        band = data[start : start + rows * header.row_bytes].ljust(rows * header.row_bytes, b"\0")
        raw = np.frombuffer(band, np.uint8).reshape(rows, header.row_bytes)
        target[top : top + rows] = _colors(raw, header)
    return samples


def _colors(raw: Pixels, header: _Header) -> Pixels:
    """Return uint8 [rows, W, channels] of whole rows of bytes."""
    width, bits = header.width, header.bits
    if bits == 24:
        return raw[:, : width * 3].reshape(len(raw), width, 3)[:, :, ::-1]
    if bits <= 8:
        if bits < 8:
            shifts = np.arange(8 - bits, -1, -bits).astype(np.uint8)
            split = raw[:, :, None] >> shifts & ((1 << bits) - 1)
            raw = split.reshape(len(raw), -1).astype(np.uint8)
        return np.take(header.palette, raw[:, :width], axis=0)
    values = raw.view("<u2" if bits == 16 else "<u4")[:, :width]
    masks = header.masks if header.masks[3:] != (0,) else header.masks[:3]
    return np.stack([_channel(values, mask) for mask in masks], axis=2)


def _channel(values: np.ndarray, mask: int) -> Pixels:
    """Return the bits of a mask as 8 bits."""
    low, size = (mask & -mask).bit_length() - 1, mask.bit_count()
    if not size:
        return np.zeros(values.shape, np.uint8)
    channel = (values & mask) >> low
    if size >= 8:
        return (channel >> (size - 8)).astype(np.uint8)
    levels = np.rint(np.arange(1 << size) * (255 / ((1 << size) - 1))).astype(np.uint8)
    scaled: Pixels = levels[channel]
    return scaled


def _read_runs(data: bytes, header: _Header) -> Pixels:
    """Return the uint8 [H, W] indices that are run-length encoded."""
    width, height, at = header.width, header.height, header.offset
    indices, x, y = np.zeros((height, width), np.uint8), 0, 0
    while at + 2 <= len(data) and y < height:
        count, value = data[at : at + 2]
        at += 2
        if count or value > 2:
            length = count or value
            if count:
                run = bytes([value])
            else:
                packed = value if header.bits == 8 else (value + 1) // 2
                run = data[at : at + packed]
                at += packed + packed % 2
            if header.bits == 4:
                pairs = np.frombuffer(run, np.uint8)
                run = np.stack((pairs >> 4, pairs & 15), 1).tobytes()
            if x < width:
                run = (run * length if count else run)[: min(length, width - x)]
                indices[y, x : x + len(run)] = np.frombuffer(run, np.uint8)
            x += length
        elif value == 0:
            x, y = 0, y + 1
        elif value == 1:
            break
        else:
            right, up = data[at : at + 2].ljust(2, b"\0")
            x, y, at = x + right, y + up, at + 2
    else:
        if y < height - 1 or (y < height and x < width):
            raise DecodeError("unreadable", f"BMP cut short at row {y} of {height}")
    return indices if header.top_down else indices[::-1]
