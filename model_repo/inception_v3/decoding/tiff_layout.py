"""How the first page of a TIFF is laid out, by its tags."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from model_repo.inception_v3.decoding.decoded import MAX_PARTS
from model_repo.inception_v3.decoding.tiff import ORIENTATION
from model_repo.inception_v3.errors import DecodeError

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5
PREMULTIPLIED = 1
_ALPHA = (PREMULTIPLIED, 2, 999)  # of ExtraSamples; 999 is Corel Draw's
_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}
_BILEVEL_FAX = (2, 3, 4)  # compressions
_FEW = 1000  # more values than any sound file has for a tag that is not one of long lists
_PREDICTED = (5, 8, 32946, 34925, 50000)  # the compressions that have a predictor
_LONG_LISTS = (273, 279, 320, 324, 325)  # where strips and tiles are, and palettes
_SINGLE = (256, 257, 259, 262, 266, 274, 277, 278, 284, 317, 322, 323)
_TAGS = dict.fromkeys((*_SINGLE, 258, 338, 339), _FEW) | dict.fromkeys(_LONG_LISTS, MAX_PARTS)

_Tags = dict[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Segment:
    """A strip or a tile: where its bytes are, and the first channel, row and column it fills."""

    offset: int
    length: int
    channel: int
    top: int
    left: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TiffLayout:
    """What decides how the samples become pixels, in TIFF's own words."""

    order: str  # of bytes, as numpy writes it
    width: int
    height: int
    bits: int
    samples: int  # per pixel
    formats: tuple[int, ...]  # 1 is unsigned
    photometric: int
    extra: tuple[int, ...]
    compression: int
    predictor: int
    bits_reversed: bool
    planar: bool
    is_tiled: bool
    segment_size: tuple[int, int]  # width and height
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]
    palette: tuple[int, ...]
    orientation: int
    has_more_pages: bool

    @property
    def colors(self) -> int:
        """The channels that are no extra ones."""
        return 3 if self.photometric == RGB else 4 if self.photometric == CMYK else 1

    @property
    def alpha(self) -> int | None:
        """The channel that is alpha; that of CMYK is not used."""
        if self.photometric == CMYK:
            return None
        places = (place for place, kind in enumerate(self.extra) if kind in _ALPHA)
        return next((self.colors + place for place in places), None)

    @property
    def channels(self) -> list[int]:
        """The channels that pixels are made of."""
        return [*range(self.colors)] + ([] if self.alpha is None else [self.alpha])

    @property
    def row_bytes(self) -> int:
        """The bytes of a segment's row."""
        channels = 1 if self.planar else self.samples
        return (self.segment_size[0] * channels * self.bits + 7) // 8

    @property
    def decompressed_bytes(self) -> int:
        """The bytes of all strips or tiles, once decompressed."""
        across, down = self.segment_size
        parts = -(-self.width // across) * -(-self.height // down)
        rows = down * parts if self.is_tiled else self.height
        return rows * self.row_bytes * (self.samples if self.planar else 1)

    def segments(self) -> Iterator[Segment]:
        """Yield the strips or tiles; all channels at once, or one after another if planar."""
        across, down = self.segment_size
        channels = self.samples if self.planar else 1
        count = channels * -(-self.height // down) * -(-self.width // across)
        if len(self.offsets) < count:
            message = f"TIFF with {len(self.offsets)} strips or tiles of {count:,}"
            raise DecodeError("unreadable", message)
        places = product(range(channels), range(0, self.height, down), range(0, self.width, across))
        for number, (channel, top, left) in enumerate(places):
            rows = down if self.is_tiled else min(down, self.height - top)
            length = self.lengths[number] if number < len(self.lengths) else 0
            yield Segment(self.offsets[number], length, channel, top, left, rows)


def read_layout(data: bytes) -> TiffLayout:
    """Read the tags of the first page.

    Raises:
        DecodeError: they are cut short, or lack what nothing can be decoded without.
    """
    order = "<" if data.startswith(b"II") else ">"
    try:
        tags, next_page = _tags(data, order)
    except (struct.error, ValueError) as exc:
        raise DecodeError("unreadable", "TIFF whose tags are cut short") from exc

    def first(tag: int, default: int = 0) -> int:
        return tags[tag][0] if tags.get(tag) else default

    width, height, samples = first(256), first(257), first(277, 1)
    is_tiled = 322 in tags
    size = (first(322), first(323)) if is_tiled else (width, min(first(278) or height, height))
    if min(*size, samples) < 1:
        raise DecodeError("unreadable", f"TIFF with parts of {size[0]} x {size[1]} pixels")
    depths = tags.get(258, (1,))[:samples]
    if len(set(depths)) > 1:
        message = f"TIFF with channels of different depth {depths}; convert it to 8-bit RGB"
        raise DecodeError("unreadable", message)
    compression = first(259, 1)
    photometric, extra = _meaning(tags, samples, compression)
    return TiffLayout(
        order=order,
        width=width,
        height=height,
        bits=depths[0],
        samples=samples,
        formats=tags.get(339, (1,)),
        photometric=photometric,
        extra=extra,
        compression=compression,
        predictor=first(317, 1) if compression in _PREDICTED else 1,
        bits_reversed=first(266) == 2,
        planar=first(284) == 2 and samples > 1,
        is_tiled=is_tiled,
        segment_size=size,
        offsets=tags.get(324, ()) if is_tiled else tags.get(273, ()),
        lengths=tags.get(325, ()) if is_tiled else tags.get(279, ()),
        palette=tags.get(320, ()),
        orientation=first(ORIENTATION, 1) if first(ORIENTATION, 1) in range(1, 9) else 1,
        has_more_pages=next_page != 0,
    )


def _meaning(tags: _Tags, samples: int, compression: int) -> tuple[int, tuple[int, ...]]:
    """Return the photometric interpretation and the extra samples that make sense of a page."""
    extra = tags.get(338, ())
    default = WHITE_IS_ZERO if compression in _BILEVEL_FAX else BLACK_IS_ZERO
    photometric = tags.get(262, (default,))[0]
    if photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO) and samples - len(extra) >= 3:
        photometric = RGB  # tagged as gray, or not at all
    if photometric == RGB and samples == 4 and not extra:
        extra = (2,)  # as all take what is meant by it
    return photometric, extra


def _tags(data: bytes, order: str) -> tuple[_Tags, int]:
    """Return the values of all tags that are unsigned integers, and where the next page is."""
    is_big = 43 in data[2:4]
    word, count_letter = (order + "Q", "Q") if is_big else (order + "I", "H")
    header = order + ("HHQ" if is_big else "HHI")
    (directory,) = struct.unpack_from(word, data, 8 if is_big else 4)
    (entries,) = struct.unpack_from(order + count_letter, data, directory)
    position = directory + struct.calcsize(order + count_letter)
    room = struct.calcsize(word)
    tags: _Tags = {}
    for _ in range(min(entries, MAX_PARTS)):
        tag, kind, count = struct.unpack_from(header, data, position)
        position += struct.calcsize(header)
        if kind in _INTEGERS and tag in _TAGS and count:
            count = min(count, _TAGS[tag])
            values = np.dtype(order + _INTEGERS[kind])
            at = position
            if values.itemsize * count > room:
                (at,) = struct.unpack_from(word, data, position)
            tags.setdefault(tag, tuple(np.frombuffer(data, values, count, at).tolist()))
        position += room
    (next_page,) = struct.unpack_from(word, data.ljust(position + room, b"\0"), position)
    return tags, next_page
