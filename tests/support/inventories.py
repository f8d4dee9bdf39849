"""S3 Inventories as AWS publishes them."""

import csv
import gzip
import hashlib
import io
import json
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq

# column: its name in CSV → elsewhere, with its type
TYPES = {
    "Bucket": ("bucket", pa.string()),
    "Key": ("key", pa.string()),
    "VersionId": ("version_id", pa.string()),
    "IsLatest": ("is_latest", pa.bool_()),
    "IsDeleteMarker": ("is_delete_marker", pa.bool_()),
    "Size": ("size", pa.int64()),
    "LastModifiedDate": ("last_modified_date", pa.timestamp("ms", "UTC")),
    "ETag": ("e_tag", pa.string()),
    "StorageClass": ("storage_class", pa.string()),
    "IntelligentTieringAccessTier": ("intelligent_tiering_access_tier", pa.string()),
}
CURRENT = [name for name in TYPES if name not in ("VersionId", "IsLatest", "IsDeleteMarker")]
FOLDER = "inventories/source/all"
STAMP = "2024-05-01T01-00Z"

Entry = dict[str, Any]  # by the names of CSV; what is not there is empty


class Inventories:
    """Publishes in a bucket, under `FOLDER`."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self.prefix = f"s3://{bucket}/{FOLDER}/"

    def publish(
        self,
        *files: list[Entry],
        kind: str = "CSV",
        columns: list[str] = CURRENT,
        stamp: str = STAMP,
        checksum: bool = True,
        **changes: Any,
    ) -> str:
        """Write data files and their manifest; return the manifest's uri."""
        listed = []
        for number, entries in enumerate(files):
            data = encode(entries, kind, columns)
            key = f"{FOLDER}/data/{stamp}-{number}.{kind.lower()}{'.gz' if kind == 'CSV' else ''}"
            self.put(key, data)
            listed.append({"key": key, "size": len(data), "MD5checksum": md5(data)})
        said = {
            "sourceBucket": "source",
            "destinationBucket": f"arn:aws:s3:::{self._bucket}",
            "version": "2016-11-30",
            "creationTimestamp": "1714525200000",
            "fileFormat": kind,
            "fileSchema": ", ".join(columns) if kind == "CSV" else "of the files",
            "files": listed,
            **changes,
        }
        data = json.dumps(said).encode()
        self.put(f"{FOLDER}/{stamp}/manifest.json", data)
        if checksum:
            self.put(f"{FOLDER}/{stamp}/manifest.checksum", f"{md5(data)}\n".encode())
        return f"{self.prefix}{stamp}/manifest.json"

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=key, Body=data)


def encode(entries: list[Entry], kind: str, columns: list[str]) -> bytes:
    file = io.BytesIO()
    if kind == "CSV":
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([_cell(entry, name) for name in columns] for entry in entries)
        return gzip.compress(text.getvalue().encode())
    arrays = {
        TYPES[name][0]: pa.array([entry.get(name) for entry in entries], TYPES[name][1])
        for name in columns
    }
    if kind == "ORC":
        pa.orc.write_table(pa.table(arrays), file)
    else:
        pq.write_table(pa.table(arrays), file)
    return file.getvalue()


def _cell(entry: Entry, name: str) -> str:
    value = entry.get(name)
    if name == "Key":
        return quote_plus(value, safe="/")
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()
