"""The GPU's benchmark runs where nothing is installed but torch and torchvision; here on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What a machine that is lent for an hour need not have.
ABSENT = """
import sys

NAMES = {"boto3", "click", "google", "grpc", "obstore", "openvino", "pyarrow", "pydantic", "ray"}
NAMES |= {"safetensors", "simplejpeg", "tritonclient"}


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
"""


def test_it_needs_only_torch_and_torchvision(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(ABSENT)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, "tests/benchmarks/gpu.py", "--device", "cpu", "--quick"]

    done = subprocess.run(
        [*command, "--json", tmp_path / "figures.json"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    networks, pipeline = figures["gpu, the network alone"], figures["gpu, end to end"]
    assert "JPEGs were decoded by torchvision." in pipeline["notes"]
    assert all(row["images_per_s"] > 0 for row in networks["medians"].values())
    assert all(row["top1_kept"] == 100 for row in networks["medians"].values())
    assert set(pipeline["medians"]) == {"decoding alone", "the classifier alone", "end to end"}
    assert all(row["images_per_s"] > 0 for row in pipeline["medians"].values())
