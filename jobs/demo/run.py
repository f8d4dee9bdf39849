"""`labelmill demo`: the real command on sample photos in a real S3 server, nothing to configure.

photos and odd files → SeaweedFS on loopback → `labelmill label` → tables, and Parquet kept here.
"""

import importlib.util
import io
import json
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.demo.seaweedfs import S3Server, run_seaweedfs, stop
from jobs.errors import JobError

SAMPLES = Path(__file__).parent / "samples"
BUCKET = "demo"
UNTRAINED_NOTICE = (
    "no pretrained weights could be fetched, so this runs an untrained network: "
    "the labels below are meaningless"
)
_INTERRUPT_TIMEOUT_S = 20.0
_EXIF_ORIENTATION = 0x0112
_ROTATE_CLOCKWISE = 6  # what a viewer has to do with the stored pixels


def run_demo(*, output: Path, pretrained: Callable[[], bool]) -> int:
    """Label the sample photos and some broken files; return the exit code, 0.

    The dataset is shown and kept in `output`, where it replaces an earlier demo's. Where there are
    no `pretrained` weights, the model is untrained.

    Raises:
        JobError: `output` holds something else, the server does not start, or labelling fails.
    """
    console = Console(highlight=False)
    _require_replaceable(output)
    with tempfile.TemporaryDirectory(prefix="labelmill-demo-") as folder:
        console.print("starting an S3 server (SeaweedFS) on loopback")
        with run_seaweedfs(Path(folder, "seaweedfs")) as server:
            objects = sample_photos() | odd_files()
            console.print(f"uploading {len(objects)} files to s3://{BUCKET}/photos/")
            _upload(server, objects)
            trained = pretrained()
            _label(console, server, [] if trained else ["--weights", "untrained"])
            fetched = Path(folder, "labels")
            _download(server, "labels/", fetched)
        if output.exists():
            shutil.rmtree(output)
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(fetched, output)
    _show_result(console, output, trained=trained)
    return 0


def sample_photos() -> dict[str, bytes]:
    """Read the photos that ship with the package, by file name."""
    paths = sorted(path for path in SAMPLES.iterdir() if path.suffix in {".jpg", ".png"})
    return {path.name: path.read_bytes() for path in paths}


def odd_files() -> dict[str, bytes]:
    """Make what real buckets also hold: unusual images, broken ones, and files that are none."""
    photo = (SAMPLES / "coffee.jpg").read_bytes()
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = _ROTATE_CLOCKWISE
    lying = Image.open(SAMPLES / "cat.jpg").transpose(Image.Transpose.ROTATE_90)
    grey = np.asarray(Image.open(SAMPLES / "camera.png")).astype(np.uint16) * 257
    return {
        "odd-cmyk.jpg": _encode(Image.open(io.BytesIO(photo)).convert("CMYK"), "JPEG"),
        "odd-rotated.jpg": _encode(lying, "JPEG", exif=exif),
        "odd-16-bit.png": _encode(Image.fromarray(grey), "PNG"),
        "broken-truncated.jpg": photo[: len(photo) // 2],
        "broken-text.jpg": b"this is a text file with the name of a photo\n",
        "broken-empty.jpg": b"",
        "broken-bomb.png": _bomb_png((SAMPLES / "camera.png").read_bytes()),
    }


def _upload(server: S3Server, objects: dict[str, bytes]) -> None:
    client = server.client()
    client.create_bucket(Bucket=BUCKET)
    for name, body in objects.items():
        client.put_object(Bucket=BUCKET, Key=f"photos/{name}", Body=body)


def _download(server: S3Server, prefix: str, folder: Path) -> None:
    """Copy the few objects under a prefix into a folder, under the rest of their keys."""
    client = server.client()
    for entry in client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ()):
        path = folder / entry["Key"].removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read())


def _show_result(console: Console, output: Path, *, trained: bool) -> None:
    """Print what was labelled, what could not be and why, and how to open the dataset."""
    labelled = _table("labelled", "file", "label", "score", "flags")
    for row in _read_rows(output / "outcome=ok", ["uri", "label", "score", "flags"]):
        flags = ", ".join(row["flags"] or ())
        labelled.add_row(_file_name(row), Text(row["label"]), f"{row['score']:.3f}", flags)
    failed = _table("could not be labelled", "file", "kind", "why")
    for row in _read_rows(output / "outcome=error", ["uri", "error_kind", "error"]):
        failed.add_row(_file_name(row), row["error_kind"], Text(row["error"]))
    if not trained:
        console.print(UNTRAINED_NOTICE, soft_wrap=True)
    console.print(labelled)
    console.print(failed)
    _show_how_to_open(console, output)


def _show_how_to_open(console: Console, output: Path) -> None:
    python = shlex.quote(_python())
    ok, every = json.dumps(f"{output}/outcome=ok"), json.dumps(f"{output}/outcome=*/*.parquet")
    pandas = f"import pandas; print(pandas.read_parquet({ok}))"
    columns = '"uri", "label", "score", "error"'
    rows = f"duckdb.read_parquet({every}, union_by_name=True).select({columns})"
    duckdb = f"import duckdb; {rows}.show()"
    missing = "" if importlib.util.find_spec("duckdb") else " (after pip install duckdb)"
    lines = [
        f"the Parquet is kept in {output}; open it with",
        f"  pandas: {python} -c {shlex.quote(pandas)}",
        f"  DuckDB{missing}: {python} -c {shlex.quote(duckdb)}",
    ]
    console.print("\n".join(lines), soft_wrap=True, markup=False)


def _python() -> str:
    """Return the shortest name of this interpreter in the user's shell."""
    here = Path(sys.executable)
    if (found := shutil.which("python")) and Path(found).absolute() == here:
        return "python"
    return str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here)


def _label_command() -> list[str]:
    return [sys.executable, "-m", "jobs", "label"]


def _label(console: Console, server: S3Server, options: list[str]) -> None:
    """Run the real command against the server; it shows its own progress.

    Raises:
        JobError: it failed.
    """
    places = [f"s3://{BUCKET}/photos/", f"s3://{BUCKET}/labels/"]
    options = ["--max-error-rate", "1", *options]
    console.print("labelmill label", *places, *options, soft_wrap=True)
    # In its own session, so that a terminal's Ctrl-C reaches only us and we pass it on once.
    # On its own Ray, since another one's workers would not know the server.
    child = subprocess.Popen(
        [*_label_command(), *places, *options],
        env=server.child_environment() | {"RAY_ADDRESS": "local"},
        start_new_session=True,
    )
    try:
        exit_code = child.wait()
    finally:
        stop(child, signal.SIGINT, _INTERRUPT_TIMEOUT_S)
    if exit_code != 0:
        raise JobError(
            f"labelmill label ended with exit code {exit_code}; its own messages are above"
        )


def _require_replaceable(output: Path) -> None:
    is_empty = output.is_dir() and not any(output.iterdir())
    if output.exists() and not is_empty and not (output / "_labelmill").is_dir():
        raise JobError(
            f"{str(output)!r} exists and is not an earlier demo's; "
            "move it away, or run the demo in another folder"
        )


def _read_rows(folder: Path, columns: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder, columns=columns).sort_by("uri").to_pylist()
    return rows


def _table(title: str, *columns: str) -> Table:
    table = Table(*columns, title=title, title_justify="left")
    table.columns[0].no_wrap = True
    return table


def _file_name(row: dict[str, Any]) -> Text:
    return Text(PurePosixPath(row["uri"]).name)


def _encode(image: Image.Image, format_name: str, **options: Any) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, format_name, **options)
    return encoded.getvalue()


def _bomb_png(png: bytes) -> bytes:
    """Make a small PNG declare gigabytes of pixels in its header, bytes 12 to 33."""
    header = b"IHDR" + struct.pack(">II5B", 30_000, 30_000, 8, 2, 0, 0, 0)
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
