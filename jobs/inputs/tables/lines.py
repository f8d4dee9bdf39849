"""The lines of a text file, plain or gzipped, of any length."""

import gzip
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, TypeVar, cast

from jobs.errors import SpecError
from jobs.inputs.rows import ROWS_PER_TABLE
from jobs.storage import Storage

LONGEST_LINE = 4 << 20
_GROUP_BYTES = 4 << 20
_BUFFER_BYTES = 4 << 20
_GZIP = b"\x1f\x8b"
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_Item = TypeVar("_Item")


class Lines:
    """Lines with their ends, read once.

    Attributes:
        uri: of the file.
        bytes_read: how long the lines were so far.
    """

    def __init__(self, storage: Storage, uri: str) -> None:
        self.uri = uri
        self.bytes_read = 0
        self._storage = storage

    def __iter__(self) -> Iterator[str]:
        """Read.

        Raises:
            SpecError: a line is too long, or not UTF-8.
            FetchError, OSError, EOFError, zlib.error: the file cannot be read to its end.
        """
        with self._storage.open(self.uri, buffer_bytes=_BUFFER_BYTES) as stored:
            is_packed = stored.peek(2)[:2] == _GZIP
            file = cast(BinaryIO, gzip.GzipFile(fileobj=stored) if is_packed else stored)
            number = 0
            while data := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(data) > LONGEST_LINE:
                    raise SpecError(f"line {number} of {self.uri} has more than 4 MiB")
                self.bytes_read += len(data)
                line = self._decode(data, number)
                if "\r" in line[:-2]:  # as old Macs end lines
                    yield from _LINE.findall(line)
                else:
                    yield line

    def groups(self, items: Iterable[_Item]) -> Iterator[list[_Item]]:
        """Cut what is read from these lines into lists of up to 1,000, and some megabytes."""
        group, start = list[_Item](), self.bytes_read
        for item in items:
            group.append(item)
            if len(group) == ROWS_PER_TABLE or self.bytes_read - start > _GROUP_BYTES:
                yield group
                group, start = [], self.bytes_read
        if group:
            yield group

    def _decode(self, data: bytes, number: int) -> str:
        try:
            return data.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as exc:
            raise SpecError(
                f"line {number} of {self.uri} is not UTF-8; save the file as UTF-8"
            ) from exc
