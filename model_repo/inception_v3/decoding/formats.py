"""What format an image has, by its first bytes."""

import re

from model_repo.inception_v3.errors import DecodeError

READ = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC or JPEG 2000"

_Magic = tuple[tuple[int, tuple[bytes, ...], str], ...]  # offset, what stands there, whose it is
_READ: _Magic = (
    (0, (b"\xff\xd8\xff",), "JPEG"),
    (0, (b"\x89PNG\r\n\x1a\n",), "PNG"),
    (0, (b"GIF87a", b"GIF89a"), "GIF"),
    (0, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"),
    (0, (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), "JPEG 2000"),
)
_NOT_READ: _Magic = (
    (0, (b"\0\0\0\x0cJXL ", b"\xff\x0a"), "JPEG XL"),
    (0, (b"II\xbc",), "JPEG XR"),
    (0, (b"8BPS",), "Photoshop"),
    (0, (b"gimp xcf",), "GIMP"),
    (0, (b"\0\0\1\0", b"\0\0\2\0"), "Windows icon"),
    (0, (b"icns",), "Apple icon"),
    (0, (b"qoif",), "QOI"),
    (0, (b"DDS ",), "DirectDraw"),
    (0, (b"v/1\x01",), "OpenEXR"),
    (0, (b"#?RADIANCE", b"#?RGBE"), "Radiance HDR"),
    (0, (b"BPG\xfb",), "BPG"),
    (0, (b"FLIF",), "FLIF"),
    (0, (b"\x8aMNG", b"\x8bJNG"), "MNG"),
    (0, (b"\x0a\x05\1",), "PCX"),
    (0, (b"\x01\xda\0\1", b"\x01\xda\1\1", b"\x01\xda\1\2"), "SGI"),
    (0, (b"\x59\xa6\x6a\x95",), "Sun raster"),
    (0, (b"\xd7\xcd\xc6\x9a",), "Windows metafile"),
    (0, (b"SIMPLE  =",), "FITS"),
    (0, (b"%!PS-Adobe",), "PostScript"),
    (0, (b"AT&TFORM",), "DjVu"),
    (128, (b"DICM",), "DICOM"),
    (0, (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb"), "camera raw"),
    (4, (b"ftypcrx ",), "camera raw"),
)
_NO_IMAGE: _Magic = ((0, (b"%PDF",), "PDF"), (4, (b"ftyp",), "MP4 or QuickTime"))
_HEIF_BRANDS = (
    ((b"avif", b"avis"), "AVIF"),
    ((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "HEIC"),
    ((b"mif1", b"msf1"), "HEIC"),
)
_PNM = re.compile(rb"P[1-6Ff]\s+[-\d#]|P7\s+(?:[A-Z]+ |#)")
_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)


def image_format(data: bytes) -> str:
    """Return the format by its first bytes, one of READ.

    Raises:
        DecodeError: `not_an_image`, or `unreadable` if it is empty or in a format that is not read.
    """
    if not data:
        raise DecodeError("unreadable", "empty object")
    kind = _named(data, _READ) or _heif_format(data)
    if kind:
        return kind
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    known = _named(data, _NOT_READ) or _described(data[:1024])
    if known:
        raise DecodeError("unreadable", f"{known} is not read; convert it to {READ}")
    other = _named(data, _NO_IMAGE)
    found = f"looks like {other}" if other else f"starts with {data[:16]!r}"
    raise DecodeError("not_an_image", f"not an image: {found}")


def _described(start: bytes) -> str | None:
    """Return the name of a format that is text in part, and so like other texts."""
    if _PNM.match(start):
        return "PNM"
    start = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    # Many a web page has icons in it.
    is_svg = start.startswith(b"<") and b"<svg" in start and b"<html" not in start
    return "SVG" if is_svg else None


def is_image(start: bytes) -> bool:
    """Say whether first bytes are an image's, be it of a format that is not read."""
    try:
        image_format(start)
    except DecodeError as exc:
        return bool(start) and exc.kind != "not_an_image"
    return True


def _named(data: bytes, magics: _Magic) -> str | None:
    return next((name for at, starts, name in magics if data.startswith(starts, at)), None)


def _heif_format(data: bytes) -> str | None:
    """Return which of the formats that share HEIF's container it is, by its brands."""
    if data[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(data[:4], "big"), 512)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))}
    kinds = (kind for named, kind in _HEIF_BRANDS if not brands.isdisjoint(named))
    return next(kinds, None)
