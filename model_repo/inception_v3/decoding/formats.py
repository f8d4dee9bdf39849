"""What format an image has, by its first bytes."""

from model_repo.inception_v3.errors import DecodeError

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
_NO_IMAGES = ("MP4 or QuickTime", "PDF")


def image_format(data: bytes) -> str:
    """Return the format by its first bytes, as Pillow names it, or raise `DecodeError`."""
    if not data:
        raise DecodeError("unreadable", "empty object")
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    names = (name for offset, magics, name in _KNOWN_BUT_UNREAD if data.startswith(magics, offset))
    known = next(names, "SVG" if b"<svg" in data[:1024] else None)
    found = f"looks like {known}; convert it first" if known else f"starts with {data[:16]!r}"
    message = f"not a JPEG, PNG, WebP, GIF, BMP or TIFF image: {found}"
    if known and known not in _NO_IMAGES:
        raise DecodeError("unreadable", message)
    raise DecodeError("not_an_image", message)
