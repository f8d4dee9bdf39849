"""Small inputs of every kind, and the rows that they give."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.inputs import OBJECT_SCHEMA, Source, open_source
from jobs.inputs.names import Names
from jobs.storage import Fetched, Storage


def read_all(source, storage: Storage) -> pa.Table:
    tables = list(source.tables(storage))
    assert all(table.num_rows <= 1000 for table in tables)
    assert all(table.schema.names == OBJECT_SCHEMA.names + source.carried.names for table in tables)
    return pa.concat_tables(tables)


def chosen(text: object, storage: Storage, names: Names) -> Source:
    """Open an input of which only some names count."""
    return replace(open_source(str(text), storage), names=names)


def uris_of(text: str, storage: Storage, root: str, **options) -> list[str]:
    """The uris that an input gives, without their root."""
    uris = read_all(open_source(text, storage, **options), storage)["uri"].to_pylist()
    return [uri.removeprefix(f"{root}/") for uri in uris]


def record_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the size of each request from now on."""
    sizes, read = list[int](), Storage.read

    def recording(self: Storage, uri: str, **known: Any) -> Fetched:
        sizes.append(known["expected_size"])
        return read(self, uri, **known)

    monkeypatch.setattr(Storage, "read", recording)
    return sizes


def write_text(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def write_tar(path: Path, members: dict[str, bytes], **options) -> str:
    with tarfile.open(path, "w", **options) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(path)


def write_parquet(path: Path, **columns) -> str:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return str(path)
