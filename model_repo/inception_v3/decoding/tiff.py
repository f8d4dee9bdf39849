"""What a TIFF's tags say, without decoding; EXIF is written in the same way."""

import struct
from collections.abc import Iterator, Mapping

from model_repo.inception_v3.decoding.decoded import MAX_PARTS
from model_repo.inception_v3.errors import DecodeError

ORIENTATION = 274  # the tag of TIFF and EXIF
_FIRST_PRIVATE_TAG = 1000  # of TIFF; decoders read those above only on request
_TIFF_BYTES = (1, 2, 6, 7)
_TIFF_INTEGERS = {3: "H", 4: "I", 16: "Q"}


def check_tiff_tags(data: bytes) -> tuple[int, int]:
    """Return the width and height of a TIFF's tiles; 1 x 1 if it has none.

    Decoders allocate whole tiles, however small the image is.

    Raises:
        DecodeError: a tag that decoders always read (strips, tiles, …) has absurdly many values.
    """
    sides = {322: 1, 323: 1}  # the tags of a tile's width and length
    try:
        for tag, kind, count, value in tiff_entries(data, _TIFF_INTEGERS, "B"):
            if tag < _FIRST_PRIVATE_TAG and kind not in _TIFF_BYTES and count > MAX_PARTS:
                found = f"TIFF with {count:,} values of tag {tag}"
                raise DecodeError("unreadable", f"{found}; the limit is {MAX_PARTS:,}")
            if tag in sides:
                sides[tag] = max(sides[tag], value)
    except struct.error:
        pass  # the directory ends early; the decoder reports it
    return sides[322], sides[323]


def tiff_entries(
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
