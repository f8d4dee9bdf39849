"""Rewrites a JPEG that the strict decoder refuses, if all its pixels are there.

What the pixels do not need is left out, and so are bytes that belong to nothing. The strict decoder
then says whether the rest is sound.
"""

from dataclasses import dataclass

from model_repo.inception_v3.decoding.huffman import parse_tables
from model_repo.inception_v3.decoding.jpeg_scan import ScanWalk
from model_repo.inception_v3.decoding.jpeg_segments import (
    APP0,
    APP14,
    DHT,
    DRI,
    EOI,
    HUFFMAN_SEQUENTIAL,
    SOF,
    SOS,
    Frame,
    Scan,
    end_of_scan,
    jpeg_segments,
)

_NOT_NEEDED = frozenset((APP0, *range(0xE1, 0xEE), APP14, 0xEF, 0xFE))  # APPn, comments
_JFIF = b"JFIF\0\1\1\0\0\1\0\1\0\0"
_ADOBE = b"Adobe\0d\0\0\0\0"  # and a number that says how colors are stored
_ADOBE_SIZE = len(_ADOBE) + 1
_VALUES = 64  # of a block


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A JPEG of which only what a decoder needs is left.

    Attributes:
        passed_over: whether there were bytes that belong to nothing, or no end.
    """

    data: bytes
    frame: Frame
    passed_over: bool


def rewrite_jpeg(data: bytes, *, walk: bool) -> Rewritten:
    """Leave out what no decoder needs; with `walk`, in the coded data too.

    Only `walk` proves that every block of every scan is there; it knows Huffman coding alone.

    Raises:
        ValueError: pixels are missing or damaged.
    """
    copy = _Copy(data)
    while scan := copy.copy_headers():
        copy.copy_coded_data(scan, walk)
    return copy.finish()


class _Copy:
    """A JPEG that is being rewritten, and what its headers have said so far."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position, self._ended = data, 2, False
        self._parts = [b"\xff\xd8"]
        self._frame: Frame | None = None
        self._adobe: int | None = None
        self._walk = ScanWalk()
        self._missing_bits: dict[int, list[int]] = {}  # by component and place in a block
        self._passed_over = False

    def copy_headers(self) -> Scan | None:
        """Copy what comes before the next scan's data; return the scan, or None at the end."""
        for marker, start, end in jpeg_segments(self._data, self._position):
            header = start - (2 if marker == EOI else 4)
            self._passed_over |= bool(self._data[self._position : header].strip(b"\xff"))
            self._position, self._ended = end, marker == EOI
            if self._ended or end > len(self._data):
                return None
            body = self._data[start:end]
            if marker == SOS:
                return self._begin_scan(body)
            self._copy_header(marker, body)
        return None

    def copy_coded_data(self, scan: Scan, walk: bool) -> None:
        """Copy the data that follows a scan's header."""
        end = end_of_scan(self._data, self._position)
        coded = self._data[self._position : end]
        self._parts.append(self._walk.copy(scan, coded) if walk else coded)
        self._position = end

    def finish(self) -> Rewritten:
        """Return the copy, with an end."""
        if not self._frame:
            raise ValueError("no frame header")
        # With no end, what is too much may as well be what a cut file was filled up with.
        if not self._ended and (self._walk.passed_over or not self._is_complete(self._frame)):
            raise ValueError("premature end of file")
        passed_over = self._passed_over or self._walk.passed_over or not self._ended
        return Rewritten(b"".join((*self._parts, b"\xff\xd9")), self._frame, passed_over)

    def _copy_header(self, marker: int, body: bytes) -> None:
        if marker in SOF:
            if self._frame:
                raise ValueError("two frame headers")
            self._frame = Frame.parse(marker, body)
        elif marker == DHT:
            self._walk.tables |= parse_tables(body)
        elif marker == DRI:
            self._walk.restart = int.from_bytes(body[:2], "big")
        elif marker == APP0 and body.startswith(b"JFIF\0"):
            body = _JFIF
        elif marker == APP14 and body.startswith(b"Adobe") and len(body) >= _ADOBE_SIZE:
            self._adobe = body[_ADOBE_SIZE - 1]
            return
        elif marker in _NOT_NEEDED:
            return
        self._copy_segment(marker, body)

    def _begin_scan(self, body: bytes) -> Scan:
        if not self._frame:
            raise ValueError("no frame header before the first scan")
        scan = Scan.parse(self._frame, body)
        if not self._missing_bits:
            self._copy_colors(len(self._frame.components))
        for component, *_ in scan.parts:
            missing = self._missing_bits.setdefault(component.number, [1] * _VALUES)
            missing[scan.band.start : scan.band.stop] = [scan.missing_bits] * len(scan.band)
        if self._frame.marker in HUFFMAN_SEQUENTIAL:
            body = body[:-3] + bytes((0, _VALUES - 1, 0))  # all else says nothing here
        self._copy_segment(SOS, body)
        return scan

    def _copy_colors(self, components: int) -> None:
        if components == 4:  # of unknown colors, they are CMYK
            self._copy_segment(APP14, _ADOBE + bytes((2 if self._adobe else 0,)))
        elif self._adobe is not None:
            self._copy_segment(APP14, _ADOBE + bytes((1 if self._adobe else 0,)))

    def _copy_segment(self, marker: int, body: bytes) -> None:
        self._parts.append(bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body)

    def _is_complete(self, frame: Frame) -> bool:
        found = [self._missing_bits.get(x.number, [1]) for x in frame.components]
        return not any(map(any, found))
