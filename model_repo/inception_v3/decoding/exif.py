"""The orientation that an EXIF block states."""

import struct

from model_repo.inception_v3.decoding.tiff import ORIENTATION, tiff_entries


def exif_orientation(exif: bytes) -> int:
    """Return the orientation in an EXIF block; 1 if it has none or is damaged."""
    tiff = exif.removeprefix(b"Exif\0\0")
    if not tiff.startswith((b"II*\0", b"MM\0*")):
        return 1
    try:
        entries = tiff_entries(tiff, {4: "I"}, "H")  # a short, whatever type is stated
        value = next((value for tag, *_, value in entries if tag == ORIENTATION), 1)
    except struct.error:
        return 1  # the block ends early, but the picture itself may be sound
    return value if 1 <= value <= 8 else 1
