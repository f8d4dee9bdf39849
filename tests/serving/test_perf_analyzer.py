"""NVIDIA's perf_analyzer, as it is: it wants metadata, config and statistics that rise."""

import base64
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.images import encode, photo

pytestmark = pytest.mark.ray

OWN = Path(sys.prefix) / "perf_analyzer"


@pytest.fixture(scope="module")
def perf_analyzer():
    """Return a call of the program, which `make` puts into an environment of its own."""
    program = shutil.which(OWN / "bin" / "perf_analyzer")
    if program is None:
        pytest.skip(f"no perf_analyzer in {str(OWN)!r}; `make test` puts it there")
    libraries = [str(path.parent) for path in OWN.glob("lib/**/libcudart.so.*")]
    environment = os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(libraries)}

    def run(*arguments):
        # A window of a few requests: what is looked at here is whether it works, not how fast.
        windows = ["--measurement-mode", "count_windows", "--measurement-request-count", "3"]
        command = [program, *windows, "-r", "3", "-s", "999", *arguments]
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        if "error while loading shared libraries" in ended.stderr:
            pytest.skip(ended.stderr.strip() + "; Debian has it in libb64-0d")
        return ended

    return run


def _address(service, protocol):
    return ["-i", protocol, "-u", service.grpc if protocol == "grpc" else service.url[7:]]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_measures_pixels(service, perf_analyzer, protocol):
    ended = perf_analyzer(
        "-m", "inception_v3", "-b", "4", "--concurrency-range", "2", *_address(service, protocol)
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Concurrency: 2, throughput:" in ended.stdout
    assert "Successful request count:" in ended.stdout  # the service's own statistics


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_measures_encoded_images(service, perf_analyzer, protocol, tmp_path):
    image = encode(photo(300, 300), "JPEG")
    element = base64.b64encode(struct.pack("<I", len(image)) + image).decode()
    data = tmp_path / "data.json"
    data.write_text(json.dumps({"data": [{"image": {"b64": element}}]}))

    ended = perf_analyzer(
        "-m", "inception_v3_image", "--input-data", data, *_address(service, protocol)
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Concurrency: 1, throughput:" in ended.stdout
