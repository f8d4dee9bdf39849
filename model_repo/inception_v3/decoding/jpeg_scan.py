"""Walks a JPEG's scans: is every block there, and which bytes of the coded data are too much?"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from model_repo.inception_v3.decoding.huffman import (
    AcWalk,
    CodedDataError,
    Table,
    Words,
    ac_table,
    dc_table,
    symbol_table,
    walk_dc,
    walk_sequential,
    words,
)
from model_repo.inception_v3.decoding.jpeg_segments import PROGRESSIVE, Scan

MAX_WALK = 1 << 24  # bytes and blocks, of all scans; that takes up to a quarter of a minute
_RESTART = re.compile(rb"(?<!\xff)\xff+([\xd0-\xd7])")
_PER_PIECE, _PER_SCAN = 10, 1 << 14  # what else takes time, in bytes
_DOUBTFUL = 4  # a few bytes read as blocks by chance; more than one in so many pieces is no chance
_STUFFED = re.compile(rb"(?<!\xff)\xff+\x00")

# Coded data, the bit to start at, units → the bit and the unit after them.
_Walk = Callable[[Words, int, range], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Coded data between two restart markers: all that belongs to blocks, and what was behind it.

    Attributes:
        too_much: whether there was more.
        goes_on: whether that reads as the end of a scan whose blocks were counted wrongly. So it
            is after damage: decoding goes on at a wrong block, but ends where the blocks end.
    """

    coded: bytes
    too_much: bool
    goes_on: bool


class ScanWalk:
    """The scans of one frame, one after the other.

    Attributes:
        tables: what defines the Huffman tables: DC tables by number, AC tables by 16 more.
        restart: after how many units the coded data starts afresh; 0 for never.
        passed_over: whether there were bytes that belong to nothing.
    """

    def __init__(self) -> None:
        self.tables: dict[int, bytes] = {}
        self.restart = 0
        self.passed_over = False
        self._ac_walks: dict[int, AcWalk] = {}
        self._walked = 0

    def copy(self, scan: Scan, coded: bytes) -> bytes:
        """Return the coded data without what is too much.

        Raises:
            ValueError: some of it is damaged or missing, or it would take too long to say.
        """
        units = scan.units()
        step = self.restart or units
        starts = range(0, units, step)
        blocks = units * sum(scan.blocks(part) for part, *_ in scan.parts)
        self._walked += len(coded) + blocks + _PER_PIECE * len(starts) + _PER_SCAN
        if self._walked > MAX_WALK:
            raise ValueError(f"more than {MAX_WALK:,} bytes and blocks to check one by one")
        pieces = _split(coded, len(starts))
        try:
            walk = self._walk_of(scan)
            walked = [
                _walk_piece(piece, walk, range(start, min(start + step, units)), units)
                for start, piece in zip(starts, pieces, strict=True)
            ]
        except LookupError as exc:  # the data ends, or a table is missing
            raise CodedDataError from exc
        too_much = sum(piece.too_much for piece in walked)
        if _DOUBTFUL * sum(piece.goes_on for piece in walked) > too_much:
            raise CodedDataError
        self.passed_over |= too_much > 0
        return _join([piece.coded for piece in walked])

    def _walk_of(self, scan: Scan) -> _Walk:
        if scan.frame.marker == PROGRESSIVE:
            return self._progressive_walk_of(scan)
        blocks: list[tuple[Table, Table]] = []
        for component, dc, ac in scan.parts:
            tables = dc_table(self.tables[dc]), ac_table(self.tables[16 + ac])
            blocks += [tables] * scan.blocks(component)
        return lambda data, at, units: (
            walk_sequential(data, at, blocks, len(units)),
            units.stop,
        )

    def _progressive_walk_of(self, scan: Scan) -> _Walk:
        component, _, number = scan.parts[0]
        if scan.band.start:
            if component.number not in self._ac_walks:
                self._ac_walks[component.number] = AcWalk(scan.units())
            walks = self._ac_walks[component.number]
            walk = walks.refine if scan.refines else walks.first
            table = symbol_table(self.tables[16 + number])
            return lambda data, at, units: walk(data, at, table, units, scan.band)
        if scan.refines:
            bits = sum(scan.blocks(part) for part, *_ in scan.parts)
            return lambda _, at, units: (at + bits * len(units), units.stop)
        blocks: list[Table] = []
        for part, dc, _ in scan.parts:
            blocks += [dc_table(self.tables[dc])] * scan.blocks(part)
        return lambda data, at, units: (walk_dc(data, at, blocks, len(units)), units.stop)


def _split(coded: bytes, count: int) -> list[bytes]:
    """Return what lies between the restart markers, which have to be `count` - 1."""
    found = _RESTART.split(coded)  # with the markers
    while len(found) > 2 * count and not found[-1]:
        del found[-2:]  # a marker at the end
    if len(found) != 2 * count - 1:
        raise CodedDataError
    if any(marker[0] & 7 != at & 7 for at, marker in enumerate(found[1::2])):
        raise CodedDataError
    return found[::2]


def _join(pieces: list[bytes]) -> bytes:
    coded = bytearray(pieces[0])
    for at, piece in enumerate(pieces[1:]):
        coded += bytes((0xFF, 0xD0 | at & 7)) + piece
    return bytes(coded)


def _walk_piece(piece: bytes, walk: _Walk, units: range, spare: int) -> _Piece:
    """Walk what lies between two restart markers; `spare` is a unit that the scan does not have."""
    coded = _STUFFED.sub(b"\xff", piece)
    data = words(coded)
    at, unit = walk(data, 0, units)
    used = -(-at // 8)
    if unit != units.stop or used > len(coded):
        raise CodedDataError
    too_much = used < len(coded)
    if too_much and not _is_padding(coded[:used], at):
        raise CodedDataError
    goes_on = too_much and _goes_on(coded, data, at, walk, spare)
    return _Piece(coded[:used].replace(b"\xff", b"\xff\0"), too_much, goes_on)


def _is_padding(coded: bytes, at: int) -> bool:
    """Say whether the last byte's bits from `at` on are as encoders fill them, with ones."""
    rest = 8 * len(coded) - at
    return 0 <= rest < 8 and (coded[-1] + 1) % (1 << rest) == 0


def _goes_on(coded: bytes, data: Words, at: int, walk: _Walk, spare: int) -> bool:
    """Say whether more blocks follow, up to the end; see `_Piece`."""
    try:
        while at < 8 * len(coded) - 7:
            at, _ = walk(data, at, range(spare, spare + 1))
    except (CodedDataError, LookupError):
        return False
    return _is_padding(coded, at)
