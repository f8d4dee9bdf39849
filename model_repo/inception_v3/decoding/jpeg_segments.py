"""The structure of a JPEG: its segments, and what the headers of frame and scans say."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

HUFFMAN_SEQUENTIAL, PROGRESSIVE, LOSSLESS = (0xC0, 0xC1), 0xC2, 0xC3
HUFFMAN_CODED = (*HUFFMAN_SEQUENTIAL, PROGRESSIVE)
READ = (*HUFFMAN_CODED, LOSSLESS, 0xC9, 0xCA)  # the last two: arithmetic coding
SOF = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
DHT, EOI, SOS, DRI = 0xC4, 0xD9, 0xDA, 0xDD
APP0, APP1, APP14 = 0xE0, 0xE1, 0xEE
_WITH_LENGTH = frozenset((*range(0x02, 0xD0), *range(0xDA, 0xFF)))
# From the first of many FFs or not at all, or a long run of them would take minutes.
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_END_OF_SCAN = re.compile(rb"(?<!\xff)\xff+[^\x00\xff\xd0-\xd7]")

Segment = tuple[int, int, int]  # marker, and where what follows its length starts and ends


@dataclass(frozen=True, slots=True)
class Component:
    """One channel: its number in the file, and how many blocks it has in a unit, each way."""

    number: int
    across: int
    down: int


@dataclass(frozen=True, slots=True)
class Frame:
    """What the frame header (SOF) says; `marker` tells how the pixels are coded."""

    marker: int
    bits: int
    width: int
    height: int
    components: tuple[Component, ...]

    @classmethod
    def parse(cls, marker: int, body: bytes) -> "Frame":
        """Read a frame header's body.

        Raises:
            ValueError: it is cut short, or has a size of 0.
        """
        if len(body) < 6 or len(body) < 6 + 3 * body[5]:
            raise ValueError("frame header is cut short")
        places = range(6, 6 + 3 * body[5], 3)
        parts = tuple(Component(body[at], body[at + 1] >> 4, body[at + 1] & 15) for at in places)
        height, width = (int.from_bytes(body[at : at + 2], "big") for at in (1, 3))
        if not parts or not all(part.across and part.down for part in parts):
            raise ValueError("frame header has no components, or some of no size")
        return cls(marker, body[0], width, height, parts)


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan's header (SOS) says.

    Attributes:
        frame: what the frame header says.
        parts: the components, each with the numbers of its DC and AC tables.
        band: which of the 64 coefficients the scan brings.
        refines: whether it adds a bit to what earlier scans brought.
        missing_bits: how many bits later scans have to add.
    """

    frame: Frame
    parts: tuple[tuple[Component, int, int], ...]
    band: range
    refines: bool
    missing_bits: int

    @classmethod
    def parse(cls, frame: Frame, body: bytes) -> "Scan":
        """Read a scan header's body.

        Raises:
            ValueError: it is damaged.
        """
        by_number = {component.number: component for component in frame.components}
        count = body[0] if body else 0
        if not count or len(body) != 2 * count + 4 or not by_number.keys() >= {*body[1:-3:2]}:
            raise ValueError("scan header is damaged")
        tables = zip(body[1:-3:2], body[2:-3:2], strict=True)
        parts = tuple((by_number[number], pair >> 4, pair & 15) for number, pair in tables)
        if frame.marker != PROGRESSIVE:
            return cls(frame, parts, range(64), False, 0)
        first, last, precision = body[-3:]
        if not first <= last < 64 or (first == 0) != (last == 0) or (first and count > 1):
            raise ValueError("scan header is damaged")
        return cls(frame, parts, range(first, last + 1), precision >> 4 > 0, precision & 15)

    def units(self) -> int:
        """Return how many units (MCUs) the scan has: blocks of 8 x 8, or rectangles of them."""
        components = self.frame.components
        across, down = max(x.across for x in components), max(x.down for x in components)
        width, height = self.frame.width, self.frame.height
        if len(self.parts) > 1:
            return -(-width // (8 * across)) * -(-height // (8 * down))
        alone = self.parts[0][0]
        width, height = -(-width * alone.across // across), -(-height * alone.down // down)
        return -(-width // 8) * -(-height // 8)

    def blocks(self, component: Component) -> int:
        """Return how many blocks a component has in a unit of this scan."""
        return component.across * component.down if len(self.parts) > 1 else 1


def jpeg_segments(data: bytes, position: int = 2) -> Iterator[Segment]:
    """Yield the segments from `position` on, up to a scan's header (SOS) or the end marker.

    Bytes that belong to no segment are passed over, as decoders do.
    """
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] == 0xFF and marker in _WITH_LENGTH:
            end = position + 2 + (data[position + 2] << 8 | data[position + 3])
            yield marker, position + 4, end
            if marker == SOS:
                return
            position = end
        elif (found := _MARKER.match(data, position)) and found.end() == position + 2:
            if marker == EOI:
                break
            position += 2
        elif found := _MARKER.search(data, position):
            position = found.end() - 2
        else:
            return
    if (found := _MARKER.search(data, position)) and data[found.end() - 1] == EOI:
        yield EOI, found.end(), found.end()


def end_of_scan(data: bytes, start: int) -> int:
    """Return where the coded data that starts at `start` ends: at a marker, or with the file."""
    found = _END_OF_SCAN.search(data, start)
    return found.start() if found else len(data) - data.endswith(b"\xff", start)
