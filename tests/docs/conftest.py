"""A folder in which every command of the README and of docs/ can be run as it is written."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from jobs.demo.seaweedfs import S3Server, free_ports
from model_repo.inception_v3 import ModelSpec, Weights, load_model
from model_repo.inception_v3.runtimes.checkpoint import load_state_dict
from tests.support.images import encode, photo
from tests.support.pages import ROOT, blocks
from tests.support.processes import started_with
from tests.support.service import clean_environment, ray_folder

_STARTS = 4  # of Ray's, which gives up after half a minute, even on a machine that is busy
_PORTS = ("port", "dashboard-port", "ray-client-server-port")  # of each Ray its own

FLOWERS = ("daisy", "rose", "tulip")
FILES = {"csv": "list.csv", "yaml": "job.yaml"}  # what the pages show of them
CONFIG = 'name: "flowers"\nmax_batch_size: 32\n'


@dataclass(frozen=True)
class World:
    """Where the commands run: the folder, and the environment that they find."""

    folder: Path
    environment: dict[str, str]


@pytest.fixture(scope="session")
def world(
    opened: ExitStack, tmp_path_factory: pytest.TempPathFactory, seaweedfs: S3Server
) -> World:
    """Photos in every form that the pages name, models, a bucket, and a Ray for all jobs."""
    folder, home = tmp_path_factory.mktemp("docs"), tmp_path_factory.mktemp("torch")
    write_images(folder)
    write_models(folder, home)
    for language, name in FILES.items():
        (block,) = blocks(language)
        (folder / name).write_text(block.text)
    client = seaweedfs.client()
    client.create_bucket(Bucket="bucket")
    for path in (folder / "photos").glob("*.jpg"):
        if path.exists():
            client.put_object(Bucket="bucket", Key=f"photos/{path.name}", Body=path.read_bytes())
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = seaweedfs.child_environment() | clean_environment()
    environment |= {"TORCH_HOME": str(home), "PATH": programs} | seaweedfs.environment()
    client.close()
    address = opened.enter_context(ray_head(folder, environment))
    return World(folder, environment | {"RAY_ADDRESS": address})


def write_images(folder: Path) -> None:
    """Write photos as files, as cells of Parquet and in a tar; one link leads nowhere."""
    samples = sorted((ROOT / "jobs" / "demo" / "samples").glob("*.jpg"))
    (folder / "photos").mkdir()
    for path in samples:
        shutil.copy(path, folder / "photos")
    (folder / "photos" / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "photo.jpg").write_bytes(encode(photo(320, 240), "JPEG"))
    (folder / "scan.png").write_bytes(encode(photo(200, 300), "PNG"))
    table = {"image": [path.read_bytes() for path in samples], "thumbnail": [b""] * len(samples)}
    pq.write_table(pa.table(table), folder / "images.parquet")
    shutil.make_archive(str(folder / "shards" / "shard"), "tar", folder, "photos")


def write_models(folder: Path, home: Path) -> None:
    """Write weights where torchvision's download would lie, and a user's model in both forms."""
    model = load_model()
    downloaded = home / "hub" / "checkpoints" / "inception_v3_google-0cc3c7bd.pth"
    downloaded.parent.mkdir(parents=True)
    seeded = Weights(None, "untrained:0")
    torch.save(load_state_dict(seeded, model.spec), downloaded)
    spec = ModelSpec(name="flowers", version="1", labels=FLOWERS)
    flowers = folder / "models" / "flowers"
    (flowers / "1").mkdir(parents=True)
    (flowers / "config.pbtxt").write_text(CONFIG)
    (flowers / "labels.txt").write_text("\n".join(FLOWERS))
    save_file(load_state_dict(seeded, spec), flowers / "1" / "model.safetensors")
    for path in (flowers / "labels.txt", flowers / "1" / "model.safetensors"):
        (folder / path.name).symlink_to(path)


@contextmanager
def ray_head(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Run a Ray of two CPUs until the context ends; yield its address."""
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head"]
    start += ["--num-cpus=2", "--include-dashboard=false"]
    with ray_folder() as session:
        environment = environment | {"RAY_TMPDIR": str(session), "RAY_worker_niceness": "0"}
        try:
            for _ in range(_STARTS):
                ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
                command = [*start, *(f"--{name}={port}" for name, port in ports.items())]
                done = subprocess.run(
                    command, env=environment, cwd=folder, capture_output=True, check=False
                )
                if done.returncode == 0:
                    break
                kill_all(session)
            else:
                raise AssertionError(done.stderr.decode())
            yield f"127.0.0.1:{ports['port']}"
        finally:
            kill_all(session)


def kill_all(session: Path) -> None:
    """End every process of a Ray."""
    for pid in started_with(session):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
