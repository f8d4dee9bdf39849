"""Jobs in the small: good and odd files, the stages without Ray, and the rows they write."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from jobs.job.job import Job
from jobs.labelling.stages import ChunkLabeller
from jobs.labelling.summary import Summary
from jobs.labelling.tasks import ChunkTask, Columns, pack, unpack
from jobs.listing.stream import list_chunks
from tests.support.images import encode, photo

GOOD = ("a good one.jpg", "folder/ünï#1.png", "rotated.jpg", "wide.webp")
ODD = {
    "empty.jpg": ("unreadable", b""),
    "notes.txt": ("not_an_image", b"not an image"),
    "truncated.jpg": ("unreadable", encode(photo(400, 300), "JPEG")[:4000]),
    "bomb.png": ("too_large", encode(photo(8, 8), "PNG")),
}


def build_zoo() -> dict[str, bytes]:
    """Name → bytes of images that can be labelled, and of files that cannot."""
    files = {name: body for name, (_, body) in ODD.items()}
    files["bomb.png"] = _with_declared_size(files["bomb.png"], 30_000, 30_000)
    files["a good one.jpg"] = encode(photo(500, 375, seed=1), "JPEG", quality=90)
    files["folder/ünï#1.png"] = encode(photo(360, 480, seed=2), "PNG")
    files["wide.webp"] = encode(photo(700, 350, seed=3), "WEBP", quality=95)
    files["rotated.jpg"] = encode(photo(400, 300, seed=4), "JPEG", exif=_orientation(6))
    return files


def label_chunks(job: Job, done: frozenset[str] = frozenset()) -> Iterator[Summary]:
    """Do in this process what the dataset's stages do on Ray."""
    label = ChunkLabeller(job)
    for chunk, total in list_chunks(job, done):
        task = ChunkTask(chunk.id, chunk.objects, total)
        yield unpack(label(pack(task)), Summary)


def placed(job: Job, **changes: Any) -> Job:
    """Run a job elsewhere: other actors, or decoding apart."""
    return replace(job, placement=replace(job.placement, **changes))


def only_task(job: Job) -> Columns:
    """List a job of one chunk, and return what its first stage takes."""
    ((chunk, total),) = list_chunks(job, frozenset())
    return pack(ChunkTask(chunk.id, chunk.objects, total))


def chunk_tables(output: Path) -> dict[str, pa.Table]:
    """Read the rows of a job without its commit: name of a chunk's file → its table."""
    folder = output / "_labelmill" / "chunks"
    return {path.name: pq.read_table(path) for path in sorted(folder.iterdir())}


def read_rows(output: Path) -> list[dict[str, Any]]:
    """Read a local predictions dataset, with the outcome as a column."""
    rows = []
    for path in sorted(output.glob("outcome=*/*.parquet")):
        outcome = path.parent.name.removeprefix("outcome=")
        table = pq.ParquetFile(path).read()
        rows += table.append_column("outcome", pa.array([outcome] * table.num_rows)).to_pylist()
    return rows


def _orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


def _with_declared_size(png: bytes, width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
