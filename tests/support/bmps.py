"""BMPs of any depth and header, written by hand."""

import struct

import numpy as np

SIZES = (12, 40, 52, 56, 64, 108, 124)  # of headers


def bmp(
    values: np.ndarray,
    bits: int,
    *,
    header: int = 40,
    masks: tuple[int, ...] = (),
    palette: np.ndarray | None = None,
    top_down: bool = False,
) -> bytes:
    """Write an uncompressed BMP.

    Args:
        values: [H, W] of whole numbers: indices into the palette, or colors as `bits` bits.
        bits: of a pixel: 1, 4, 8, 16, 24 or 32.
        header: one of SIZES.
        masks: the bits of red, green, blue and, from a header of 56 bytes on, alpha.
        palette: uint8 [colors, 3], RGB.
        top_down: the first row comes first.
    """
    height, width = values.shape
    rows = _packed(values if top_down else values[::-1], bits)
    if header == 12:
        head = struct.pack("<HHHH", width, height, 1, bits)
    else:
        colors = 0 if palette is None else len(palette)
        signed = -height if top_down else height
        fields = (width, signed, 1, bits, 3 if masks else 0, len(rows), 2835, 2835, colors, colors)
        head = struct.pack("<iiHHIIiiII", *fields) + struct.pack(f"<{len(masks)}I", *masks)
    head = struct.pack("<I", header) + head
    head = head.ljust(header, b"\0")
    if palette is not None:
        head += np.pad(palette[:, ::-1], ((0, 0), (0, 0 if header == 12 else 1))).tobytes()
    at = 14 + len(head)
    return struct.pack("<2sIHHI", b"BM", at + len(rows), 0, 0, at) + head + rows


def _packed(values: np.ndarray, bits: int) -> bytes:
    if bits < 8:
        shifts = np.arange(bits)[::-1]
        single = (values[:, :, None] >> shifts & 1).reshape(len(values), -1)
        raw = np.packbits(single.astype(np.uint8), axis=1)
    else:
        raw = np.ascontiguousarray(values.astype("<u4")).view(np.uint8)
        raw = raw.reshape(*values.shape, 4)[:, :, : bits // 8].reshape(len(values), -1)
    return np.pad(raw, ((0, 0), (0, -raw.shape[1] % 4))).tobytes()
