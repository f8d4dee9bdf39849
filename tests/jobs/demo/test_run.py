import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from jobs.demo import run as demo
from jobs.errors import JobError

ODD_NAMES = {"odd-cmyk.jpg", "odd-rotated.jpg", "odd-16-bit.png"}
BROKEN_NAMES = {
    *("broken-truncated.jpg", "broken-text.jpg", "broken-empty.jpg", "broken-bomb.png"),
}

# Stands in for `labelmill label`: says that whatever is named broken-* could not be labelled.
LABEL = """
import io, json, sys
import boto3, pyarrow as pa, pyarrow.parquet as pq

def put(client, key, rows):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    client.put_object(Bucket="demo", Key=key, Body=file.getvalue())

client = boto3.client("s3")
keys = [o["Key"] for o in client.list_objects_v2(Bucket="demo", Prefix="photos/")["Contents"]]
ok, error = [], []
for key in keys:
    if "broken-" in key:
        why = {"error_kind": "unreadable", "error": "is [so] broken"}
        error.append({"uri": f"s3://demo/{key}"} | why)
    else:
        ok.append({"uri": f"s3://demo/{key}", "label": "teapot", "score": 0.5, "flags": ["odd"]})
put(client, "labels/outcome=ok/0.parquet", ok)
put(client, "labels/outcome=error/0.parquet", error)
client.put_object(Bucket="demo", Key="labels/_labelmill/job.json", Body=json.dumps(sys.argv[1:]))
client.put_object(Bucket="demo", Key="labels/_SUCCESS", Body=b"")
"""

HANGING_LABEL = """
import os, sys, time
from pathlib import Path
try:
    print(os.environ["AWS_ENDPOINT_URL"], os.getpid(), flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    Path(sys.argv[1]).write_text("interrupted")
    sys.exit(130)
"""

RUN_DEMO = """
import sys
from pathlib import Path
from jobs.demo import run as demo
demo._label_command = lambda: [sys.executable, *sys.argv[1:]]
demo.run_demo(output=Path("demo-output"), pretrained=lambda: True)
"""


@pytest.fixture
def label_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Set what runs in place of `labelmill label`."""

    def set_label_command(script: str) -> None:
        path = tmp_path / "label.py"
        path.write_text(script)
        monkeypatch.setattr(demo, "_label_command", lambda: [sys.executable, str(path)])

    set_label_command(LABEL)
    return set_label_command


@pytest.fixture
def shared_server(seaweedfs, s3_client, monkeypatch: pytest.MonkeyPatch):
    """Let the demo use the tests' server, which takes seconds less than one of its own."""
    monkeypatch.setattr(demo, "run_seaweedfs", lambda folder: contextlib.nullcontext(seaweedfs))
    yield
    s3_client.delete_bucket(Bucket=demo.BUCKET)


def columns_of(text: str) -> dict[str, list[str]]:
    """The cells of every line of the tables, by their first cell."""
    lines = [re.split(r"\s*│\s*", line.strip("│ ")) for line in text.splitlines() if "│" in line]
    return {cells[0]: cells[1:] for cells in lines}


def test_samples_are_small_photos_with_credits(sample_photos: list[Path]):
    credits = (demo.SAMPLES / "CREDITS.md").read_text()

    assert len(sample_photos) >= 7
    assert sum(path.stat().st_size for path in sample_photos) < 600_000
    for path in sample_photos:
        with Image.open(path) as image:
            image.load()
            assert 299 <= max(image.size) <= 512
        assert f"`{path.name}`" in credits


def test_odd_files_are_what_their_names_say():
    odd = demo.odd_files()
    images = {name: Image.open(io.BytesIO(odd[name])) for name in ODD_NAMES}

    assert set(odd) == ODD_NAMES | BROKEN_NAMES
    assert images["odd-cmyk.jpg"].mode == "CMYK"
    assert images["odd-16-bit.png"].mode == "I;16"
    assert images["odd-16-bit.png"].getextrema()[1] > 255
    rotated = images["odd-rotated.jpg"]
    with Image.open(demo.SAMPLES / "cat.jpg") as upright:
        assert rotated.size == upright.size[::-1]
        assert ImageOps.exif_transpose(rotated).size == upright.size


def test_broken_files_are_broken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    odd = demo.odd_files()

    with Image.open(io.BytesIO(odd["broken-bomb.png"])) as bomb:
        assert bomb.size == (30_000, 30_000)
    with (
        Image.open(io.BytesIO(odd["broken-truncated.jpg"])) as cut,
        pytest.raises(OSError, match="truncated"),
    ):
        cut.load()
    for name in ("broken-text.jpg", "broken-empty.jpg"):
        with pytest.raises(Image.UnidentifiedImageError):
            Image.open(io.BytesIO(odd[name]))


@pytest.mark.usefixtures("label_command", "shared_server")
def test_demo_shows_every_file_and_keeps_the_dataset(tmp_path: Path, monkeypatch, capfd):
    monkeypatch.setenv("COLUMNS", "120")
    output = tmp_path / "it's here" / "demo-output"

    exit_code = demo.run_demo(output=output, pretrained=lambda: True)

    printed = capfd.readouterr().out
    cells = columns_of(printed)
    assert exit_code == 0
    assert cells["cat.jpg"][:3] == ["teapot", "0.500", "odd"]
    for name in BROKEN_NAMES:
        assert cells[name][:2] == ["unreadable", "is [so] broken"]
    assert demo.UNTRAINED_NOTICE not in printed
    assert "--weights" not in (output / "_labelmill" / "job.json").read_text()
    opened = {
        name: subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout
        for name, line in re.findall(r"(pandas|DuckDB): (.*)", printed)
    }
    assert "cat.jpg" in opened["pandas"]
    assert "cat.jpg" in opened["DuckDB"]
    assert "is [so] broken" in opened["DuckDB"]


@pytest.mark.usefixtures("label_command", "shared_server")
def test_demo_without_pretrained_weights_says_so_and_replaces_an_earlier_one(tmp_path, capfd):
    output = tmp_path / "demo-output"
    (output / "_labelmill").mkdir(parents=True)
    (output / "outcome=ok").mkdir()
    pq.write_table(pa.table({"uri": ["s3://demo/old.jpg"]}), output / "outcome=ok" / "1.parquet")

    exit_code = demo.run_demo(output=output, pretrained=lambda: False)

    printed = capfd.readouterr().out
    assert exit_code == 0
    assert printed.index(demo.UNTRAINED_NOTICE) < printed.index("could not be labelled")
    assert '"--weights", "untrained"' in (output / "_labelmill" / "job.json").read_text()
    assert not (output / "outcome=ok" / "1.parquet").exists()


def test_demo_does_not_replace_what_is_not_a_demos(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("two years of work")

    with pytest.raises(JobError, match="not an earlier demo's; move it away"):
        demo.run_demo(output=tmp_path, pretrained=lambda: True)

    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.usefixtures("shared_server")
def test_demo_fails_when_labelling_fails(label_command, tmp_path: Path):
    label_command("import sys; sys.exit(1)")

    with pytest.raises(JobError, match="ended with exit code 1"):
        demo.run_demo(output=tmp_path / "demo-output", pretrained=lambda: True)

    assert not (tmp_path / "demo-output").exists()


@pytest.mark.s3
def test_interrupted_demo_interrupts_the_job_and_cleans_up(tmp_path: Path):
    (tmp_path / "label.py").write_text(HANGING_LABEL)
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-c", RUN_DEMO, str(tmp_path / "label.py"), str(tmp_path / "said")]
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as running:
        url, pid = next(line for line in running.stdout if line.startswith("http")).split()
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=30) == -signal.SIGINT

    assert (tmp_path / "said").read_text() == "interrupted"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=5)
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.ray
@pytest.mark.s3
def test_demo_command_labels_the_photos_and_explains_the_rest(tmp_path: Path):
    command = [sys.executable, "-m", "jobs", "demo"]
    environment = os.environ | {"COLUMNS": "160"}

    done = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    output = tmp_path / "demo-output"
    flags = {
        Path(row["uri"]).name: set(row["flags"])
        for file in (output / "outcome=ok").glob("*.parquet")
        for row in pq.ParquetFile(file).read().to_pylist()
    }
    failed = {
        Path(row["uri"]).name: row["error_kind"]
        for file in (output / "outcome=error").glob("*.parquet")
        for row in pq.ParquetFile(file).read().to_pylist()
    }
    assert set(flags) == set(demo.sample_photos()) | ODD_NAMES
    assert "cmyk" in flags["odd-cmyk.jpg"]
    assert "exif_rotated" in flags["odd-rotated.jpg"]
    assert "sixteen_bit" in flags["odd-16-bit.png"]
    assert set(failed) == BROKEN_NAMES
    assert failed["broken-bomb.png"] == "too_large"
    assert set(failed) | set(flags) <= set(columns_of(done.stdout))
    assert (output / "_SUCCESS").exists()
