"""S3 Inventory: what a bucket holds, as AWS writes it down every day or week. Nothing is listed.

`manifest.json` names data files, which `inventory_files` reads.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from jobs.errors import FetchError, JobError, SpecError
from jobs.inputs.inventory_files import read_data_file
from jobs.inputs.rows import OBJECT_SCHEMA, ROWS_PER_TABLE, Source
from jobs.inputs.tables import table_errors
from jobs.storage import Storage
from model_repo.inception_v3.errors import describe_problem

_KEYS = {"sourceBucket", "fileFormat", "fileSchema", "files"}
_MANIFEST = re.compile(r"(.*/)(\d{4}-\d\d-\d\dT\d\d-\d\dZ/)manifest\.(json|checksum)")
_YEARS = "2"  # how dated folders begin; `data/` and `hive/` lie beside them

# Glacier Instant Retrieval is read like any other class.
_ARCHIVED_CLASSES = pa.array(["GLACIER", "DEEP_ARCHIVE"])
_ARCHIVED_TIERS = pa.array(["ARCHIVE", "DEEP_ARCHIVE", "ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"])

# what is no object at present: its name → which rows are
_LEFT_OUT: dict[str, Callable[[pa.RecordBatch], Any]] = {
    "delete marker": lambda rows: rows["isdeletemarker"],
    "older version": lambda rows: pc.invert(rows["islatest"]),
    "folder placeholder": lambda rows: pc.and_(
        pc.ends_with(rows["key"], "/"), pc.equal(rows["size"], 0)
    ),
}


class _Edge(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel)


class DataFile(_Edge):
    """One data file; `key` is in the destination bucket."""

    key: str
    md5: str | None = Field(default=None, alias="MD5checksum")


class InventoryManifest(_Edge):
    """What `manifest.json` says; the destination bucket is an ARN."""

    destination_bucket: str
    file_format: Literal["CSV", "ORC", "Parquet"]
    file_schema: str
    files: tuple[DataFile, ...]


@dataclass(slots=True)
class InventorySource(Source):
    """One row per object of an inventory, in its order; an archived object has no location."""

    kind = "inventory"
    uri: str
    manifest: InventoryManifest

    def __str__(self) -> str:
        return f"inventory {self.uri}"

    def _listed(self, storage: Storage) -> Iterator[pa.Table]:
        bucket = self.manifest.destination_bucket.rpartition(":")[2]
        how = (self.manifest.file_format, self.manifest.file_schema)
        for file in self.manifest.files:
            uri = f"s3://{bucket}/{file.key}"
            with table_errors(uri):
                for listed in read_data_file(storage, uri, file.md5, *how):
                    rows = _rows(self._chosen(self._current(listed)))
                    for start in range(0, rows.num_rows, ROWS_PER_TABLE):
                        yield rows.slice(start, ROWS_PER_TABLE)

    def _current(self, listed: pa.RecordBatch) -> pa.RecordBatch:
        """Leave out what is no object at present, and count it."""
        for why, is_left_out in _LEFT_OUT.items():
            kept = listed.filter(pc.invert(pc.fill_null(is_left_out(listed), False)))
            if count := listed.num_rows - kept.num_rows:
                self.passed_over[why] += count
            listed = kept
        return listed

    def _chosen(self, listed: pa.RecordBatch) -> pa.RecordBatch:
        """Leave out what is not wanted by its name, which is the whole key, and count it."""
        keys = listed["key"].to_pylist()
        if self.names.take_all(f"/{key}" for key in keys):
            return listed
        return listed.filter(pa.array(map(self._counts, keys), pa.bool_()))


def find_inventory(storage: Storage, uri: str, first: str) -> InventorySource | None:
    """Open the inventory that an INPUT means, if it means one.

    It may be `manifest.json`, its dated folder, or the configuration's prefix: of the inventories
    there the newest complete one counts. `first` is the first object listed at `uri`.

    Raises:
        SpecError: it says what it must not, or none is complete.
        JobError: it is damaged, or cannot be read.
    """
    folder = f"{uri.rstrip('/')}/"
    if first == uri and uri.endswith(".json"):
        return _open(storage, uri)
    place = _MANIFEST.fullmatch(first)
    if place and place[1] == folder:
        return _open(storage, _newest(storage, folder))
    if place and place[1] + place[2] == folder:
        return _open(storage, f"{folder}manifest.json")
    return None


def _newest(storage: Storage, folder: str) -> str:
    """Return the newest manifest with a checksum, which is written last."""
    places = (_MANIFEST.fullmatch(x.uri) for x in storage.list(folder, starts_with=_YEARS))
    complete = [place[2] for place in places if place and place[3] == "checksum"]
    if not complete:
        raise SpecError(
            f"no inventory under {folder} is complete: none has a manifest.checksum; wait for it, "
            "or name a manifest.json"
        )
    return f"{folder}{max(complete)}manifest.json"


def _open(storage: Storage, uri: str) -> InventorySource | None:
    """Read `manifest.json`; None if that is something else."""
    with table_errors(uri):
        data = storage.read(uri).data
        if uri.endswith("/manifest.json"):
            _check_manifest(storage, uri, data)
    try:
        said: Any = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not said.keys() >= _KEYS:
        return None
    try:
        return InventorySource(uri, InventoryManifest.model_validate(said))
    except ValidationError as exc:
        problem = exc.errors()[0]
        name = ".".join(map(str, problem["loc"]))
        raise SpecError(f"inventory {uri}: {describe_problem(name, problem)}") from exc


def _check_manifest(storage: Storage, uri: str, data: bytes) -> None:
    checksum = f"{uri.removesuffix('json')}checksum"
    try:
        expected = storage.read(checksum).data.decode(errors="replace").strip()
    except FetchError as exc:
        if exc.kind not in ("not_found", "access_denied"):
            raise
        return  # the manifest was copied without it
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != expected.lower():
        raise JobError(
            f"{uri} does not match {checksum}: MD5 {expected[:32]!r} expected, {found!r} found; "
            "copy both again, or take another inventory"
        )


def _rows(listed: pa.RecordBatch) -> pa.Table:
    """Describe objects as a listing does: the size counts where the version is known."""
    uri = pc.binary_join_element_wise("s3://", listed["bucket"], "/", listed["key"], "")
    archived = pc.or_(
        pc.is_in(listed["storageclass"], value_set=_ARCHIVED_CLASSES),
        pc.is_in(listed["intelligenttieringaccesstier"], value_set=_ARCHIVED_TIERS),
    )
    etag = pc.utf8_trim(listed["etag"], '"')
    etag = pc.if_else(pc.equal(etag, ""), None, etag)
    size = pc.if_else(pc.is_valid(etag), listed["size"], None)
    location = pc.if_else(archived, None, uri)
    nothing = pa.nulls(listed.num_rows, pa.int64())
    return pa.table([uri, location, nothing, nothing, size, etag], schema=OBJECT_SCHEMA)
