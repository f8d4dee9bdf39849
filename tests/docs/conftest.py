"""A folder in which every command of the README and of docs/ can be run as it is written."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from jobs.demo.seaweedfs import S3Server
from model_repo.inception_v3 import ModelSpec, Weights, load_model
from model_repo.inception_v3.runtimes.checkpoint import load_state_dict
from tests.support.images import encode, photo
from tests.support.pages import ROOT, blocks

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
    shared_ray: dict[str, str], tmp_path_factory: pytest.TempPathFactory, seaweedfs: S3Server
) -> World:
    """Photos in every form that the pages name, models, a bucket, and a Ray for all jobs."""
    folder = tmp_path_factory.mktemp("docs")
    write_images(folder)
    write_models(folder, Path(shared_ray["TORCH_HOME"]))
    for language, name in FILES.items():
        (block,) = blocks(language)
        (folder / name).write_text(block.text)
    client = seaweedfs.client()
    client.create_bucket(Bucket="bucket")
    for path in (folder / "photos").glob("*.jpg"):
        if path.exists():
            client.put_object(Bucket="bucket", Key=f"photos/{path.name}", Body=path.read_bytes())
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    client.close()
    cache = {"HF_HOME": str(folder / "huggingface")}
    return World(folder, shared_ray | {"PATH": programs} | cache)


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
