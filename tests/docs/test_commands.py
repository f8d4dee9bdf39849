"""Every command, query and program of the README and of docs/ is run as it is written."""

import json
import subprocess
import sys
from collections.abc import Callable

import duckdb
import pytest
import yaml
from google.protobuf import text_format
from ray.serve.schema import ServeDeploySchema
from tritonclient.grpc import model_config_pb2

from model_repo.inception_v3.classifier import is_native
from model_repo.inception_v3.options import RuntimeOptions
from serving.config import load_config
from tests.support.pages import ROOT, blocks, commands

# With the service, so that all of them run in the one process that has it.
pytestmark = [pytest.mark.ray, pytest.mark.timeout(600), pytest.mark.usefixtures("service")]

# How a line begins that is not run here → why.
ELSEWHERE = {
    "make demo": "tests/jobs/demo runs it",
    "make test": "this is it; make test-long and make chaos are its longer rounds",
    "make chaos": "a longer round of tests/chaos",
    "make bench": "half an hour",
    "pip install": "what is installed is under test",
    "python tests/benchmarks/gpu.py": "for a machine with a GPU; tests/benchmarks runs its parts",
    "serve deploy": "tests/serving/test_replicas.py deploys to a cluster",
    "serve run": "its arguments are checked below; tests/serving runs it",
    "RAY_SERVE_ENABLE_HA_PROXY=1": "tests/serving/http/test_proxy.py runs it so",
}
# Commands that are run with --dry-run: everything but the labelling, which others of them do.
DRY = ("--precision bf16", "--model-repository models", "--limit 100", "--config job.yaml")
# Exit codes that are not 0 here, and why: a check of so few images never passes.
FEW_IMAGES = 3 if is_native(RuntimeOptions(precision="bf16").resolve()) else 2


def runs_elsewhere(line: str) -> bool:
    return any(line.startswith(start) for start in ELSEWHERE)


def test_what_is_not_run_here_is_still_there():
    for start in ELSEWHERE:
        assert commands(start), start
    for words in DRY:
        assert any(words in line for line in commands("labelmill label")), words


@pytest.fixture(scope="session")
def labelled(world) -> dict[str, int]:
    """Run all labelmill commands, the plain job first; return their exit codes."""
    lines = ["labelmill label photos/ labels/", *commands("labelmill")]
    lines = [_as_run(line) for line in dict.fromkeys(lines)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.run_commands"],
        input="\n".join(lines),
        cwd=world.folder,
        env=world.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    codes = {each["line"]: each["code"] for each in map(json.loads, done.stdout.splitlines())}
    assert codes.keys() == set(lines), done.stderr
    print(done.stderr)
    return codes


def test_labelmill_commands_end_well(labelled):
    wrong = {line: code for line, code in labelled.items() if code != 0}

    checks = [line for line in labelled if line.startswith("labelmill models check")]
    assert checks
    assert wrong == dict.fromkeys(checks, FEW_IMAGES)


def test_labelmill_commands_have_labelled(world, labelled):
    outputs = {path.parent.name for path in world.folder.glob("*/_SUCCESS")}

    assert {"labels", "embedded", "flower-labels"} <= outputs
    rows = duckdb.sql(f"FROM read_parquet('{world.folder}/flower-labels/outcome=ok/*.parquet')")
    assert {row[0] for row in rows.select("label").fetchall()} <= {"daisy", "rose", "tulip"}


def _as_run(line: str) -> str:
    is_dry = line.startswith("labelmill label") and any(words in line for words in DRY)
    return line + " --dry-run" * is_dry


@pytest.fixture
def here(service) -> Callable[[str], str]:
    """Write a text's addresses as those of the service that runs."""
    host = service.url.removeprefix("http://")

    def here(text: str) -> str:
        return text.replace("127.0.0.1:8000", host).replace("127.0.0.1:9000", service.grpc)

    return here


def test_other_commands_run(world, here):
    lines = [x for x in commands() if not x.startswith("labelmill") and not runs_elsewhere(x)]

    done = subprocess.run(
        ["bash", "-exo", "pipefail", "-c", here("\n".join(lines))],
        cwd=world.folder,
        env=world.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"predictions"') == sum("/v1/classify" in line for line in lines)
    assert '"error"' not in done.stdout


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.page)
def test_programs_run(world, labelled, here, block):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", here(block.text)],
        cwd=world.folder,
        env=world.environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("block", blocks("sql"), ids=lambda block: block.page)
def test_queries_run(world, labelled, monkeypatch, block):
    monkeypatch.chdir(world.folder)

    for query in filter(str.strip, block.text.split(";\n")):
        duckdb.sql(query).fetchall()


def test_the_service_takes_the_arguments(world, monkeypatch):
    monkeypatch.chdir(world.folder)
    lines = [line for line in commands() if "serve run" in line]
    (world.folder / "tokens").write_text("ab" * 32)

    for line in lines:
        words = line.partition("serving.app:build_app")[2].split()
        load_config(dict(word.split("=", 1) for word in words))
    assert len(lines) > 4


def test_serve_takes_the_config_file():
    assert ServeDeploySchema.model_validate(
        yaml.safe_load((ROOT / "deploy" / "serve.yaml").read_text())
    )


def test_parameters_are_triton_s():
    for block in blocks("protobuf"):
        assert text_format.Parse(block.text, model_config_pb2.ModelConfig()).parameters


def test_other_blocks_are_of_a_kind_that_is_checked():
    assert {block.language for block in blocks()} == {
        *("sh", "sql", "python", "protobuf"),
        *("csv", "yaml"),  # files that commands name
        "text",  # what is printed, or drawn
    }
