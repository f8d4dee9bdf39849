"""Listing many keys as a job does: its time, and the memory of the process that does it.

A process of its own lists empty objects, cuts them into chunks and writes the manifest; nothing is
labelled. SeaweedFS, which takes a while to be filled, has fewer.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import obstore
from obstore.store import S3Store

from jobs.demo.seaweedfs import S3Server, run_seaweedfs
from tests.benchmarks.harness import Figures, Report, interleave
from tests.benchmarks.processes import peak_bytes

LOCAL_KEYS, REMOTE_KEYS = 1_000_000, 100_000
KEYS_PER_FOLDER = 1000
BUCKET = "benchmark"
COLUMNS = {
    "seconds": "seconds",
    "keys_per_s": "keys/s",
    "cpu_us": "CPU µs per key",
    "bytes_per_key": "memory per key, bytes",
    "peak_mb": "peak, MB",
}


def measure(*, quick: bool, keys: int | None = None) -> list[Report]:
    """List `keys` objects, or as many as there are by default."""
    shrink = 50 if quick else 1
    local, remote = (keys or default // shrink for default in (LOCAL_KEYS, REMOTE_KEYS))
    repeats = 1 if quick else 3
    with tempfile.TemporaryDirectory(prefix="labelmill-listing-") as name:
        folder = Path(name)
        _make_files(folder / "objects", local)
        with run_seaweedfs(folder / "seaweedfs") as server:
            asyncio.run(_make_objects(server, remote))
            environment = server.child_environment()
            cases = {
                f"{local:,} files": lambda: _list(folder / "objects", folder / "out"),
                f"{remote:,} objects in SeaweedFS": lambda: _list(
                    f"s3://{BUCKET}/objects/", f"s3://{BUCKET}/out", environment
                ),
            }
            runs = interleave(cases, repeats=repeats)
    title = "Listing, with the manifest"
    report = Report(name="listing", title=title, columns=COLUMNS, settings={"repeats": repeats})
    report.add(runs)
    return [report]


def _list(
    source: Path | str, output: Path | str, environment: Mapping[str, str] | None = None
) -> Figures:
    new = f"{output}-{uuid.uuid4().hex}"
    command = [sys.executable, "-m", "tests.benchmarks.listing", str(source), new]
    figures: Figures = json.loads(subprocess.check_output(command, env=environment))
    return figures


def _keys(count: int) -> Iterator[str]:
    return (f"{number // KEYS_PER_FOLDER:06d}/{number:09d}.jpg" for number in range(count))


def _make_files(folder: Path, count: int) -> None:
    for key in _keys(count):
        path = folder / key
        if key.endswith("000.jpg"):
            path.parent.mkdir(parents=True)
        path.touch()


async def _make_objects(server: S3Server, count: int) -> None:
    client = server.client()
    client.create_bucket(Bucket=BUCKET)
    client.close()
    store = S3Store(
        BUCKET,
        prefix="objects",
        endpoint=server.endpoint_url,
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
        region=server.region,
        client_options={"allow_http": True},
    )
    keys = _keys(count)

    async def put_some() -> None:
        for key in keys:
            await obstore.put_async(store, key, b"")

    await asyncio.gather(*(put_some() for _ in range(32)))


def _work(source_uri: str, output: str) -> Figures:
    """List; in a process of its own, so that its memory is the listing's."""
    from jobs.job.checks import check_job  # noqa: PLC0415
    from jobs.job.resolve import resolve_job  # noqa: PLC0415
    from jobs.job.spec import JobSpec  # noqa: PLC0415
    from jobs.listing.manifest import Manifest  # noqa: PLC0415
    from jobs.listing.stream import record_tables  # noqa: PLC0415
    from jobs.resources import Resources  # noqa: PLC0415
    from jobs.storage import Storage  # noqa: PLC0415

    storage = Storage()
    spec = JobSpec(input=source_uri, output=output, weights="untrained")
    job = resolve_job(check_job(spec, storage), Resources(cpus=1, gpus=0))
    before_bytes = _peak_bytes()
    wall, cpu = time.perf_counter(), time.process_time()
    manifest = Manifest(storage, job.layout.manifest)
    chunks = record_tables(job.source.tables(storage), job, manifest)
    keys = sum(chunk.objects.num_rows for chunk in chunks)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "seconds": wall,
        "keys_per_s": keys / wall,
        "cpu_us": cpu / keys * 1e6,
        "bytes_per_key": (_peak_bytes() - before_bytes) / keys,
        "peak_mb": _peak_bytes() / 1e6,
    }


def _peak_bytes() -> int:
    # Not getrusage's ru_maxrss, which begins with what the process that started this one took.
    return peak_bytes(Path("/proc/self/status").read_text())


if __name__ == "__main__":
    print(json.dumps(_work(*sys.argv[1:])))
