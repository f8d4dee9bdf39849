"""The orientation that an EXIF block states."""

import re
import struct

from model_repo.inception_v3.decoding.tiff import ORIENTATION, tiff_entries

EXIF_START = b"Exif\0\0"
_STARTS = re.compile(rb"(?:Exif\0\0)*")
# What decoders take an orientation's type for; a byte for a short, as most do.
_TYPES = {1: "H", 3: "H", 4: "I", 6: "b", 7: "H", 8: "h", 9: "i"}


def exif_orientation(exif: bytes) -> int:
    """Return the orientation in an EXIF block; 1 if it has none or is damaged.

    A block that is spread over several segments has to be joined before.
    """
    start = _STARTS.match(exif)
    tiff = exif[start.end() :] if start else exif
    if not tiff.startswith((b"II*\0", b"MM\0*")):
        return 1
    try:
        value = _stated_orientation(tiff)
    except struct.error:
        return 1  # the block ends early, but the picture itself may be sound
    return value if 1 <= value <= 8 else 1


def _stated_orientation(tiff: bytes) -> int:
    for tag, kind, count, value in tiff_entries(tiff, _TYPES, "H"):
        if tag == ORIENTATION:
            if kind not in _TYPES or not count:
                return 1
            if count * struct.calcsize("=" + _TYPES[kind]) <= 4 or kind in (1, 7):
                return value
            break
    else:
        return 1
    # Several values do not fit in; what is there is where they are.
    places = (value for tag, *_, value in tiff_entries(tiff, {}, "I") if tag == ORIENTATION)
    order = "<" if tiff.startswith(b"II") else ">"
    return int(struct.unpack_from(order + _TYPES[kind], tiff, next(places))[0])
