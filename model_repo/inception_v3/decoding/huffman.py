"""Walks a JPEG's Huffman-coded data: is every block there, and where does the data end?

It decodes no pixels. A few seconds for 10 MB, in Python: for what the strict decoder refuses.
"""

from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np

Table = Sequence[int]  # by the next 16 bits of the data
Words: TypeAlias = "array[int]"  # of 32 bits each

_CHUNK = 1 << 20  # how many words are made at once

# What an AC table adds to a coefficient's number, which ends at 64, to end the block early.
_END_OF_BLOCK, _INVALID = 1 << 8, 1 << 16


class CodedDataError(ValueError):
    """The coded data is damaged, or ends early."""

    def __init__(self) -> None:
        super().__init__("coded data is damaged or ends early")


def parse_tables(body: bytes) -> dict[int, bytes]:
    """Return the tables of a DHT segment, by class and number as the file has them in one byte."""
    tables, at = {}, 0
    while at + 17 <= len(body):
        end = at + 17 + sum(body[at + 1 : at + 17])
        tables[body[at]] = body[at + 1 : end]
        at = end
    return tables


@lru_cache(8)
def dc_table(definition: bytes) -> Table:
    """By the next 16 bits: how many bits a DC value takes with its code."""
    return _table(definition, lambda symbol: symbol, 1 << 40)


@lru_cache(8)
def ac_table(definition: bytes) -> Table:
    """By the next 16 bits: the bits of an AC value, and 32 times how far it leads in its block."""

    def entry(symbol: int) -> int:
        run, size = symbol >> 4, symbol & 15
        if size:
            return (run + 1) << 5 | size
        return (16 if run == 15 else _END_OF_BLOCK) << 5

    return _table(definition, entry, _INVALID << 5)


@lru_cache(8)
def symbol_table(definition: bytes) -> Table:
    """By the next 16 bits: the bits of a code, and 32 times its symbol; negative if invalid."""
    return _table(definition, lambda symbol: symbol << 5, -1)


def _table(definition: bytes, entry: Callable[[int], int], invalid: int) -> Table:
    table: list[int] = []
    symbols = iter(definition[16:])
    for length, count in enumerate(definition[:16], 1):
        for _, symbol in zip(range(count), symbols, strict=False):
            table += [entry(symbol) + length] * (1 << (16 - length))
    return (table + [invalid] * (0x10000 - len(table)))[:0x10000]


def words(coded: bytes) -> Words:
    """Return for each byte of data, and for its end, the 32 bits from there on."""
    found: Words = array("I")
    for start in range(0, len(coded) + 1, _CHUNK):
        there = np.frombuffer(coded[start : start + _CHUNK + 3] + bytes(4), np.uint8)
        count = min(_CHUNK, len(coded) + 1 - start)
        parts = [there[at : at + count].astype(np.uint32) << (24 - 8 * at) for at in range(4)]
        found.frombytes((parts[0] | parts[1] | parts[2] | parts[3]).tobytes())
    return found


def walk_sequential(data: Words, at: int, blocks: Sequence[tuple[Table, Table]], units: int) -> int:
    """Return the bit after some units of a sequential scan; `blocks` are the tables of a unit."""
    for _ in range(units):
        for dc, ac in blocks:
            at += dc[data[at >> 3] >> (16 - (at & 7)) & 0xFFFF]
            number = 1
            while number < 64:
                entry = ac[data[at >> 3] >> (16 - (at & 7)) & 0xFFFF]
                at += entry & 31
                number += entry >> 5
            if number != 64 and number >> 8 != 1:
                raise CodedDataError
    return at


def walk_dc(data: Words, at: int, blocks: Sequence[Table], units: int) -> int:
    """Return the bit after some units of the first scan of a progressive file's DC values."""
    for _ in range(units):
        for table in blocks:
            at += table[data[at >> 3] >> (16 - (at & 7)) & 0xFFFF]
    return at


class AcWalk:
    """The scans of one component's AC values, in a progressive file.

    Attributes:
        known: for each block, as bits, which values are known not to be 0; one block is to spare.
    """

    def __init__(self, blocks: int) -> None:
        self.known = [0] * (blocks + 1)

    def first(
        self, data: Words, at: int, table: Table, blocks: range, band: range
    ) -> tuple[int, int]:
        """Walk the first scan of a band of values; return the bit and the block after it."""
        block = blocks.start
        while block < blocks.stop:
            number = band.start
            while number < band.stop:
                run, size, at = _symbol(data, at, table)
                if not size and run < 15:
                    block += _take(data, at, run) + (1 << run) - 1
                    at += run
                    break
                number += run
                if size:
                    at += size
                    self.known[block] |= 1 << number
                number += 1
            if number > band.stop:
                raise CodedDataError
            block += 1
        return at, block

    def refine(
        self, data: Words, at: int, table: Table, blocks: range, band: range
    ) -> tuple[int, int]:
        """Walk a scan that adds a bit to a band's values; return the bit and the block after it."""
        self.known[-1] = 0
        ended = 0  # how many blocks, from this one on, have no further value
        for block in blocks:
            known, number = self.known[block], band.start
            while number < band.stop and not ended:
                run, size, at = _symbol(data, at, table)
                if not size and run < 15:
                    ended = _take(data, at, run) + (1 << run)
                    at += run
                    break
                at += size
                number, bits = _skip_zeros(known, number, run, band.stop)
                at += bits
                if size > 1 or (size and number == band.stop):
                    raise CodedDataError
                self.known[block] |= size << number
                number += 1
            if ended:
                at += (known >> number & ((1 << (band.stop - number)) - 1)).bit_count()
                ended -= 1
        return at, blocks.stop + ended


def _skip_zeros(known: int, number: int, run: int, stop: int) -> tuple[int, int]:
    """Return the place after `run` zeros, and how many values that are none lie before it."""
    bits = 0
    while number < stop and (run or known >> number & 1):
        if known >> number & 1:
            bits += 1
        else:
            run -= 1
        number += 1
    return number, bits


def _symbol(data: Words, at: int, table: Table) -> tuple[int, int, int]:
    """Read a code; return the run and the size that it stands for, and the bit after it."""
    entry = table[data[at >> 3] >> (16 - (at & 7)) & 0xFFFF]
    if entry < 0:
        raise CodedDataError
    return entry >> 9, entry >> 5 & 15, at + (entry & 31)


def _take(data: Words, at: int, count: int) -> int:
    """Read a number of up to 14 bits."""
    return data[at >> 3] >> (32 - (at & 7) - count) & ((1 << count) - 1)
