"""The import rules: data and imports run one way, and each folder knows only what it must."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# folder → what its modules may not import
FORBIDDEN = {
    "model_repo": {
        *("jobs", "serving", "ray", "click", "pydantic", "fastapi", "obstore"),
    },
    "jobs": {"serving", "torch", "torchvision", "openvino", "fastapi"},
    "serving": {"jobs", "obstore"},
}
# The modules that know Ray, torch or FastAPI, and where S3's clients are made.
ONLY_IN = {
    "ray": {
        "jobs/labelling/cluster.py",
        "jobs/labelling/pipeline.py",
        "serving/app.py",
        "serving/deployment.py",
        "serving/grpc/methods.py",
        "serving/http/proxy.py",
        "serving/telemetry/metrics.py",
        "serving/models/predictor.py",
    },
    "fastapi": {
        "serving/http/app.py",
        "serving/http/classify.py",
        "serving/http/oip.py",
        "serving/http/oip_schemas.py",
        "serving/http/pages.py",
    },
    "torch": {
        "model_repo/inception_v3/repository/download.py",
        "model_repo/inception_v3/runtimes/checkpoint.py",
        "model_repo/inception_v3/runtimes/device_runner.py",
        "model_repo/inception_v3/runtimes/network.py",
        "model_repo/inception_v3/runtimes/openvino_runtime.py",
        "model_repo/inception_v3/preprocess.py",
        "model_repo/inception_v3/options.py",
        "model_repo/inception_v3/runtimes/torch_runtime.py",
    },
    "openvino": {"model_repo/inception_v3/runtimes/openvino_runtime.py"},
    "boto3": {"model_repo/inception_v3/s3/connection.py"},
    "botocore": {
        "jobs/demo/seaweedfs.py",
        "jobs/storage/clients.py",
        "jobs/storage/s3.py",
        "jobs/storage/s3_reads.py",
        "model_repo/inception_v3/s3/connection.py",
        "model_repo/inception_v3/s3/faults.py",
        "model_repo/inception_v3/s3/reader.py",
    },
    "obstore": {"jobs/storage/clients.py", "jobs/storage/faults.py"},
}


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add((node.module or "").partition(".")[0])
    return found


def modules(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_run_one_way(folder):
    for path in modules(folder):
        wrong = imports_of(path) & FORBIDDEN[folder]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


@pytest.mark.parametrize("package", ONLY_IN)
def test_heavy_packages_stay_where_they_belong(package):
    users = {
        str(path.relative_to(ROOT))
        for folder in FORBIDDEN
        for path in modules(folder)
        if package in imports_of(path)
    }

    assert users == ONLY_IN[package]


def test_model_repository_is_no_package_and_holds_models_alone():
    assert not (ROOT / "model_repo" / "__init__.py").exists()
    folders = [path for path in (ROOT / "model_repo").iterdir() if path.is_dir()]
    assert folders
    assert all((folder / "config.pbtxt").is_file() for folder in folders)


def test_modules_fit_on_a_few_screens():
    lengths = {path: len(path.read_text().splitlines()) for f in FORBIDDEN for path in modules(f)}

    assert {path: n for path, n in lengths.items() if n > 300} == {}
