"""JPEGs that no encoder here writes: any chroma sampling, stray bytes, damage."""

import re
import struct

import numpy as np

_MARKER = re.compile(rb"\xff[^\x00\xff]")


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def blocky_jpeg(
    sampling: str, *, units: tuple[int, int] = (3, 2), restart: int = 0, app: bytes = b""
) -> bytes:
    """Write a baseline JPEG whose 8 x 8 blocks have one value each.

    Args:
        sampling: blocks of each component in a unit, across and down: `4x2 1x1 1x1`.
        units: how many there are, across and down; the last ones are not full.
        restart: after how many units a restart marker comes; 0 for never.
        app: segments to begin with.
    """
    parts = [(int(part[0]), int(part[2])) for part in sampling.split()]
    width = 8 * units[0] * max(across for across, _ in parts) - 3
    height = 8 * units[1] * max(down for _, down in parts) - 5
    count = bytes((len(parts),))
    frame = struct.pack(">BHH", 8, height, width) + count
    frame += b"".join(
        bytes((at + 1, across << 4 | down, 0)) for at, (across, down) in enumerate(parts)
    )
    scan = count + b"".join(bytes((at + 1, 0)) for at in range(len(parts))) + b"\0\x3f\0"
    # DC: twelve codes of four bits, for the sizes 0 to 11; AC: one code of one bit, for the end.
    tables = b"\0" + bytes((0, 0, 0, 12, *12 * [0])) + bytes(range(12))
    tables += b"\x10" + bytes((1, *15 * [0])) + b"\0"
    return b"".join(
        (
            b"\xff\xd8" + app,
            segment(0xDB, b"\0" + bytes(64 * [16])),
            segment(0xC0, frame),
            segment(0xC4, tables),
            segment(0xDD, struct.pack(">H", restart)) if restart else b"",
            segment(0xDA, scan),
            _coded_blocks([across * down for across, down in parts], units, restart),
            b"\xff\xd9",
        )
    )


def _coded_blocks(blocks: list[int], units: tuple[int, int], restart: int) -> bytes:
    random = np.random.default_rng(0)
    total = units[0] * units[1]
    coded = b""
    for start in range(0, total, restart or total):
        bits, last = "", [0] * len(blocks)
        for _ in range(min(restart or total, total - start)):
            for component, count in enumerate(blocks):
                for value in random.integers(-50, 50, count).tolist():
                    bits += _dc_bits(value - last[component]) + "0"
                    last[component] = value
        bits += "1" * (-len(bits) % 8)
        marker = bytes((0xFF, 0xD0 | (start // restart - 1) & 7)) if start else b""
        coded += marker + int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return coded


def _dc_bits(difference: int) -> str:
    size = abs(difference).bit_length()
    value = difference if difference >= 0 else difference + (1 << size) - 1
    return f"{size:04b}" + (f"{value:0{size}b}" if size else "")


def scan_start(jpeg: bytes) -> int:
    """Return where the coded data of the first scan starts."""
    at = jpeg.index(b"\xff\xda")
    return at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")


def markers(jpeg: bytes, first: int, last: int) -> list[int]:
    """Return where markers of a range are, from the first scan on."""
    found = _MARKER.finditer(jpeg, scan_start(jpeg))
    return [match.start() for match in found if first <= jpeg[match.start() + 1] <= last]


def insert(jpeg: bytes, places: list[int], stray: bytes) -> bytes:
    for at in sorted(places, reverse=True):
        jpeg = jpeg[:at] + stray + jpeg[at:]
    return jpeg
