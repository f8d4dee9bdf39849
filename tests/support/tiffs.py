"""TIFFs of any layout, written by hand: libraries write few of those that the world has."""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

NONE, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773


def tiff(
    samples: np.ndarray,
    photometric: int | None,
    order: str = "<",
    extra: int | list[int] | None = None,
    **layout: Any,
) -> bytes:
    """Write a TIFF.

    Args:
        samples: [H, W, channels] of any unsigned, signed or float type.
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 CMYK; None: not stated.
        order: `<` little endian, `>` big endian.
        extra: what the last channels are: 0 anything, 1 premultiplied alpha, 2 alpha.
        layout: `bits` (else those of the type), `compression`, `predictor`, `planar`, `tile` (its
            side, a multiple of 16), `rows` per strip, `big` for BigTIFF, `bits_reversed`, and
            `tags` to add.
    """
    height, width, channels = samples.shape
    tile, rows = layout.get("tile"), layout.get("rows", height)
    parts = [_packed(part, order, **layout) for part in _parts(samples, **layout)]
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    tags: dict[int, list[int]] = {
        256: [width],
        257: [height],
        258: [layout.get("bits") or samples.dtype.itemsize * 8] * channels,
        259: [layout.get("compression", NONE)],
        266: [2 if layout.get("bits_reversed") else 1],
        277: [channels],
        284: [2 if layout.get("planar") else 1],
        339: [kind] * channels,
    }
    tags |= {322: [tile], 323: [tile]} if tile else {278: [rows]}
    tags |= {317: [layout["predictor"]]} if layout.get("predictor") else {}
    tags |= {} if photometric is None else {262: [photometric]}
    tags |= {} if extra is None else {338: extra if isinstance(extra, list) else [extra]}
    return _file(tags | layout.get("tags", {}), parts, order, layout.get("big", False), bool(tile))


def _parts(samples: np.ndarray, **layout: Any) -> Iterator[np.ndarray]:
    """Yield the strips or tiles, in the order of the file."""
    height, width, channels = samples.shape
    tile = layout.get("tile")
    across, down = (tile, tile) if tile else (width, layout.get("rows", height))
    planes = np.split(samples, channels, axis=2) if layout.get("planar") else [samples]
    for plane in planes:
        for top in range(0, height, down):
            for left in range(0, width, across):
                part = plane[top : top + down, left : left + across]
                missing = ((0, down - part.shape[0]), (0, across - part.shape[1]), (0, 0))
                yield np.pad(part, missing, "edge") if tile else part


def _packed(part: np.ndarray, order: str, **layout: Any) -> bytes:
    bits = layout.get("bits") or part.dtype.itemsize * 8
    if layout.get("predictor", 1) == 2:
        part = np.diff(part, axis=1, prepend=part.dtype.type(0))
    if bits == part.dtype.itemsize * 8:
        raw = part.astype(part.dtype.newbyteorder(order)).tobytes()
    else:
        shifts = np.arange(bits)[::-1]
        single = (part.reshape(len(part), -1, 1) >> shifts & 1).astype(np.uint8)
        raw = np.packbits(single.reshape(len(part), -1), axis=1).tobytes()
    raw = _COMPRESSED[layout.get("compression", NONE)](raw)
    if layout.get("bits_reversed"):
        single = np.unpackbits(np.frombuffer(raw, np.uint8)).reshape(-1, 8)
        raw = np.packbits(single[:, ::-1]).tobytes()
    return raw


def _by_lzw(raw: bytes) -> bytes:
    """Write every byte as a code of its own, and clear the table before codes get longer."""
    codes = []
    for start in range(0, len(raw), 200):
        codes += [256, *raw[start : start + 200]]
    single = np.array([*codes, 257])[:, None] >> np.arange(9)[::-1] & 1
    return np.packbits(single.astype(np.uint8)).tobytes()


def _by_packbits(raw: bytes) -> bytes:
    pieces = [raw[start : start + 128] for start in range(0, len(raw), 128)]
    return b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)


_COMPRESSED = {NONE: bytes, LZW: _by_lzw, DEFLATE: zlib.compress, PACKBITS: _by_packbits}


def _file(
    tags: dict[int, list[int]], parts: list[bytes], order: str, big: bool, tiled: bool
) -> bytes:
    word, start = ("Q", 16) if big else ("I", 8)
    ends = np.cumsum([len(part) for part in parts])
    body = b"".join(parts)
    body += bytes(-len(body) % 2)
    tags |= {324 if tiled else 273: [start, *(start + ends[:-1]).tolist()]}
    tags |= {325 if tiled else 279: [len(part) for part in parts]}
    header = order + "HH" + word
    count = struct.pack(order + ("Q" if big else "H"), len(tags))
    directory = start + len(body)
    step = struct.calcsize(header) + struct.calcsize(order + word)
    overflow = directory + len(count) + step * len(tags) + struct.calcsize(order + word)
    entries, tail = b"", b""
    for tag, values in sorted(tags.items()):
        kind, letter = (4, "I") if tag in (256, 257, 273, 278, 279, 324, 325) else (3, "H")
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > struct.calcsize(order + word):
            value = struct.pack(order + word, overflow + len(tail))
            tail += packed
        else:
            value = packed.ljust(struct.calcsize(order + word), b"\0")
        entries += struct.pack(header, tag, kind, len(values)) + value
    magic = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", 43 if big else 42)
    magic += (
        struct.pack(order + "HHQ", 8, 0, directory) if big else struct.pack(order + "I", directory)
    )
    return magic + body + count + entries + bytes(struct.calcsize(order + word)) + tail
