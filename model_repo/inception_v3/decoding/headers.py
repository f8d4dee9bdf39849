"""What an image's bytes say without decoding: format, orientation, size, damage."""

import struct
import zlib
from collections.abc import Iterator, Mapping

from model_repo.inception_v3.errors import DecodeError

MAX_SCANS = 1_000  # a progressive JPEG has about ten; thousands only keep a decoder busy

MAX_PARTS = 200_000  # chunks of a PNG, strips of a TIFF: each takes 100 bytes of memory or more

ORIENTATION = 274  # the tag of TIFF and EXIF
_FIRST_PRIVATE_TAG = 1000  # of TIFF; decoders read those above only on request
_TIFF_BYTES = (1, 2, 6, 7)
_TIFF_INTEGERS = {3: "H", 4: "I", 16: "Q"}
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    ((b"GIF87a", b"GIF89a"), "GIF"),
    (b"BM", "BMP"),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"),
)
_KNOWN_BUT_UNREAD = (
    (4, (b"ftypavif", b"ftypavis"), "AVIF"),
    (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"), "HEIC"),
    (4, (b"ftyp",), "MP4 or QuickTime"),
    (0, (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), "JPEG 2000"),
    (0, (b"\0\0\0\x0cJXL ", b"\xff\x0a"), "JPEG XL"),
    (0, (b"8BPS",), "Photoshop"),
    (0, (b"%PDF",), "PDF"),
)


def image_format(data: bytes) -> str:
    """Return the format by its first bytes, as Pillow names it, or raise `DecodeError`."""
    if not data:
        raise DecodeError("unreadable", "empty object")
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    names = (name for offset, magics, name in _KNOWN_BUT_UNREAD if data.startswith(magics, offset))
    known = next(names, "SVG" if b"<svg" in data[:1024] else None)
    found = f"looks like {known}; convert it first" if known else f"starts with {data[:16]!r}"
    raise DecodeError("unreadable", f"not a JPEG, PNG, WebP, GIF, BMP or TIFF image: {found}")


def jpeg_orientation(data: bytes) -> int:
    """Return the orientation, 1 to 8; refuse a progressive stream with absurdly many scans."""
    orientation = 1
    for marker, start, end in jpeg_segments(data):
        if marker == 0xE1 and data.startswith(b"Exif\0\0", start):
            orientation = exif_orientation(data[start:end])
        elif marker in (0xC2, 0xCA):
            scans = data.count(b"\xff\xda", end)
            if scans > MAX_SCANS:
                message = f"JPEG with {scans} scans; the limit is {MAX_SCANS}"
                raise DecodeError("unreadable", message)
    return orientation


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the segments before the first scan."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0xDA:
            return
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        yield marker, position + 4, end
        position = end


def exif_orientation(exif: bytes) -> int:
    """Return the orientation in an EXIF block; 1 if it has none or is damaged."""
    tiff = exif.removeprefix(b"Exif\0\0")
    if not tiff.startswith((b"II*\0", b"MM\0*")):
        return 1
    try:
        entries = _tiff_entries(tiff, {4: "I"}, "H")  # a short, whatever type is stated
        value = next((value for tag, *_, value in entries if tag == ORIENTATION), 1)
    except struct.error:
        return 1  # the block ends early, but the picture itself may be sound
    return value if 1 <= value <= 8 else 1


def webp_size(data: bytes) -> tuple[int, int]:
    """Return the width and height of a WebP's canvas."""
    chunk = data[12:16]
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8X":
        width, height = data[24:27], data[27:30]
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    raise DecodeError("unreadable", f"WebP starts with an unknown chunk {chunk!r}")


def check_png_chunks(data: bytes) -> None:
    """Refuse damaged pixel data, whose checksums Pillow ignores, and absurdly many chunks.

    Raises:
        DecodeError: a checksum is wrong, or there are too many chunks besides the image data.
    """
    position, others, view = 8, 0, memoryview(data)
    while position + 12 <= len(data) and others <= MAX_PARTS:
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if not data.startswith(b"IDAT", position + 4):
            others += 1
        elif end + 4 <= len(data):
            (stated,) = struct.unpack_from(">I", data, end)
            if zlib.crc32(view[position + 4 : end]) != stated:
                message = f"PNG checksum mismatch in the chunk at byte {position}"
                raise DecodeError("unreadable", message)
        position = end + 4
    if others > MAX_PARTS:
        message = f"PNG with more than {MAX_PARTS:,} chunks besides the image data"
        raise DecodeError("unreadable", message)


def check_tiff_tags(data: bytes) -> tuple[int, int]:
    """Return the width and height of a TIFF's tiles; 1 x 1 if it has none.

    Decoders allocate whole tiles, however small the image is.

    Raises:
        DecodeError: a tag that decoders always read (strips, tiles, …) has absurdly many values.
    """
    sides = {322: 1, 323: 1}  # the tags of a tile's width and length
    try:
        for tag, kind, count, value in _tiff_entries(data, _TIFF_INTEGERS, "B"):
            if tag < _FIRST_PRIVATE_TAG and kind not in _TIFF_BYTES and count > MAX_PARTS:
                found = f"TIFF with {count:,} values of tag {tag}"
                raise DecodeError("unreadable", f"{found}; the limit is {MAX_PARTS:,}")
            if tag in sides:
                sides[tag] = max(sides[tag], value)
    except struct.error:
        pass  # the directory ends early; the decoder reports it
    return sides[322], sides[323]


def _tiff_entries(
    data: bytes, letters: Mapping[int, str], other: str
) -> Iterator[tuple[int, int, int, int]]:
    """Yield tag, type, count and first inline value of the first page's entries.

    `letters` says by type how `struct` reads the value; `other` is for all types not in it.
    """
    order = "<" if data.startswith(b"II") else ">"
    is_big = 43 in data[2:4]
    word, header = ("Q", order + "HHQ") if is_big else ("I", order + "HHI")
    (directory,) = struct.unpack_from(order + word, data, 8 if is_big else 4)
    first = directory + (8 if is_big else 2)
    (entries,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, directory)
    size = struct.calcsize(header)
    step = size + struct.calcsize(order + word)
    for position in range(first, first + step * min(entries, MAX_PARTS), step):
        tag, kind, count = struct.unpack_from(header, data, position)
        (value,) = struct.unpack_from(order + letters.get(kind, other), data, position + size)
        yield tag, kind, count, value
