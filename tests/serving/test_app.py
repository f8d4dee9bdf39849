"""`serve run` with wrong arguments: one sentence, before anything is started."""

import socket
import subprocess
import sys

import pytest

from tests.support.service import ROOT, clean_environment


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ray.serve.scripts", "run", "serving.app:build_app"]
    return subprocess.run(
        [*command, *arguments],
        check=False,
        cwd=ROOT,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["models=nope", "weights=untrained"], ["'nope'", "inception_v3"]),
        (["weigths=untrained"], ["'weigths'", "weights"]),
        (["weights=/nowhere"], ["/nowhere", "untrained"]),
        (["weights=untrained", "host=203.0.113.1"], ["port", "8000"]),
    ],
)
def test_wrong_arguments_end_in_one_sentence(arguments, words):
    result = run(*arguments)

    error = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1
    assert error.startswith("Error: ")
    assert all(word in error for word in words)
    assert "Traceback" not in result.stderr + result.stdout


def test_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        result = run("weights=untrained", f"port={port}")

    assert result.returncode == 1
    assert f"port {port}" in result.stderr.splitlines()[-1]
