"""The service is what its own description says: schemathesis asks what that allows, and not."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.ray

CONFIG = Path(__file__).with_name("schemathesis.toml")
LIMIT_S = 1200  # of the long round


def _hold_to_description(service, folder, phases, examples, *selection):
    # Its own checks, all of them; the same requests each time.
    command = [Path(sys.prefix) / "bin" / "schemathesis", "--config-file", CONFIG, "run"]
    command += [f"{service.url}/openapi.json", "--checks", "all", "--phases", phases]
    command += ["--max-examples", str(examples), "--seed", "7", "--continue-on-failure", *selection]
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.long
@pytest.mark.timeout(LIMIT_S)
def test_service_keeps_to_its_description(service, tmp_path, pytestconfig):
    phases = "examples,coverage,fuzzing,stateful"
    examples = 50 if pytestconfig.getoption("--long") else 3
    _hold_to_description(service, tmp_path, phases, examples, "--exclude-path-regex", "load$")


def test_description_has_every_route_and_no_error_that_is_not_ours(service):
    description = httpx.get(f"{service.url}/openapi.json").json()

    assert "/v2/models/{name}/versions/{version}/infer" in description["paths"]
    assert "ValidationError" not in str(description)
    for operations in description["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if status != "200":
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Error"}
