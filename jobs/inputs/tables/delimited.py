"""Lists whose values are text: CSV, TSV, and one uri a line."""

import csv
from collections.abc import Iterator, Sequence

from jobs.errors import SpecError
from jobs.inputs.tables.lines import LONGEST_LINE, Lines

# as long as a line may be, so that a quote without an end does not take the memory
csv.field_size_limit(LONGEST_LINE)


def read_header(lines: Lines, delimiter: str) -> list[str]:
    """Return the names of the columns.

    Raises:
        SpecError: there are none.
    """
    return next(_records(lines, delimiter))


def read_delimited(lines: Lines, delimiter: str) -> Iterator[dict[str, Sequence[str]]]:
    """Read the rows below the header: some hundred values of each column at a time.

    Every value stays the text that it is, an empty one too, and so do line breaks in quotes. Those
    are for CSV alone: in TSV, a text that just begins with a quote would swallow rows.

    Raises:
        SpecError: a row is damaged, or has more or fewer values than the header.
    """
    records = _records(lines, delimiter)
    header = next(records)
    for group in lines.groups(records):
        yield dict(zip(header, zip(*group, strict=True), strict=True))


def read_uris(lines: Lines) -> Iterator[dict[str, Sequence[str]]]:
    """Read one uri a line; blank lines count for nothing."""
    uris = (uri for line in lines if (uri := line.rstrip("\r\n")).strip())
    for group in lines.groups(uris):
        yield {"uri": group}


def _records(lines: Lines, delimiter: str) -> Iterator[list[str]]:
    """Read the header and the rows, which have as many values."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    width = row = 0
    try:
        for record in reader:
            if not record:  # a blank line
                continue
            width = width or len(record)
            if len(record) != width:
                raise SpecError(
                    f"row {row} of {lines.uri} has {len(record)} values, but the header {width} "
                    "names; quote values that hold the delimiter"
                )
            if delimiter == "\t" and any("\n" in value for value in record):
                raise SpecError(
                    f"row {row} of {lines.uri} has a value that begins with a quote and goes on in "
                    "the next line; quote it whole, or save the list as CSV"
                )
            yield record
            row += 1
    except csv.Error as exc:
        raise SpecError(f"row {row} of {lines.uri} (line {reader.line_num}): {exc}") from exc
    if not width:
        raise SpecError(f"{lines.uri} is empty; its first line has to name the columns")
