"""What an update has to label: objects that are new, or have changed since they got their rows."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.dataset.layout import Layout
from jobs.dataset.parquet import BufferedParquetWriter, data_files, read_groups
from jobs.digests import Digests, digest, digest_uris, find, join
from jobs.errors import FetchError
from jobs.inputs.rows import limit_rows
from jobs.job.job import Job
from jobs.storage import Storage, StoredObject

_LOOKS_AT_ONCE = 64


@dataclass(slots=True)
class Labelled:
    """The rows that a dataset has, as digests, and which of their objects were listed again.

    Attributes:
        uris: sorted.
        versions: of each uri; all zeros, which no version is, for a row that is to be made again.
        seen: whether each uri was among the rows given to `changed`.
        new, replaced: how many rows `changed` has passed on.
    """

    uris: Digests
    versions: Digests
    seen: npt.NDArray[np.bool_]
    new: int = 0
    replaced: int = 0

    @classmethod
    def load(cls, job: Job, storage: Storage, *, retry_errors: bool) -> "Labelled":
        """Read the dataset's uris and versions; errors that are to be retried have no version."""
        uris, versions = [], []
        for file in data_files(job.layout, storage):
            again = retry_errors and file.startswith(f"{job.layout.outcome('error')}/")
            for table in read_groups(storage, file, ("uri", "etag", *job.source.carried.names)):
                uris.append(digest_uris(table))
                none = np.zeros(table.num_rows, "S16")
                versions.append(none if again else _versions(table, job.source.carried.names))
        joined = join(uris)
        order = np.argsort(joined)
        return cls(joined[order], join(versions)[order], np.zeros(len(order), np.bool_))

    def changed(self, rows: pa.Table, carried: list[str]) -> pa.Table:
        """Keep the rows that the dataset lacks, or has in another version.

        An archived object that has its row may have been restored: it gets a location again.
        """
        places, known = find(digest_uris(rows), self.uris)
        self.seen[places[known]] = True
        same = known.copy()
        same[known] = self.versions[places[known]] == _versions(rows, carried)[known]
        self.new += int((~known).sum())
        self.replaced += int((known & ~same).sum())
        locations, at = rows.column("location"), rows.schema.get_field_index("location")
        if locations.null_count:
            restored = pc.coalesce(locations, rows.column("uri"))
            locations = pc.if_else(pa.array(known), restored, locations)
            rows = rows.set_column(at, rows.schema.field(at), locations)
        return rows.filter(pa.array(~same))

    @property
    def removed(self) -> Digests:
        """Return the uris that were not among the rows given to `changed`."""
        return self.uris[~self.seen]


def find_changes(job: Job, storage: Storage, labelled: Labelled) -> Iterator[pa.Table]:
    """List the input and yield the rows that have to be labelled.

    Where the input has no versions (a manifest), the objects themselves are looked up.
    """
    carried = job.source.carried.names
    with ThreadPoolExecutor(_LOOKS_AT_ONCE) as pool:
        for rows in limit_rows(job.source.tables(storage), job.spec.limit):
            changed = labelled.changed(_with_etags(rows, storage, pool), carried)
            if changed.num_rows:
                yield changed


def write_removed(layout: Layout, storage: Storage, removed: Digests) -> None:
    """Write the table of rows whose objects are no longer listed; none if there is no such row."""
    storage.delete([layout.removed_earlier])
    with BufferedParquetWriter(storage, layout.removed) as file:
        for data_file in data_files(layout, storage) if len(removed) else ():
            for table in read_groups(storage, data_file, ("uri",)):
                gone = find(digest_uris(table), removed)[1]
                file.add(table.filter(pa.array(gone)))


def _versions(table: pa.Table, carried: Iterable[str]) -> Digests:
    """Return digests that change with the bytes, and with what is carried to the output."""
    etags = (etag or None for etag in table.column("etag").to_pylist())
    others = (table.column(name).to_pylist() for name in carried)
    rows = zip(table.column("uri").to_pylist(), etags, *others, strict=True)
    return digest(repr(row) for row in rows)


def _with_etags(rows: pa.Table, storage: Storage, pool: ThreadPoolExecutor) -> pa.Table:
    """Look up the size and etag of whole objects that were listed without them."""
    columns = (rows.column(name).to_pylist() for name in ("location", "etag", "offset", "row"))
    places = enumerate(zip(*columns, strict=True))
    unknown = {at: place for at, (place, *known) in places if place and known == [None] * 3}
    if not unknown:
        return rows
    answers = pool.map(partial(_look, storage), unknown.values())
    by_place = dict(zip(unknown, answers, strict=True))
    found = [by_place.get(at) for at in range(rows.num_rows)]
    sizes, etags = [x and x.size for x in found], [(x and x.etag) or None for x in found]
    for name, values in (("size", sizes), ("etag", etags)):
        column = pc.coalesce(rows.column(name), pa.array(values, rows.schema.field(name).type))
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), column)
    return rows


def _look(storage: Storage, uri: str) -> StoredObject | None:
    try:
        return storage.look(uri)
    except FetchError:
        return None  # it will have an error row
