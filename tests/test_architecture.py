"""The import rules: data and imports run one way, and each folder knows only what it must."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# folder → what its modules may not import
FORBIDDEN = {
    "model_repo": {
        *("jobs", "serving", "ray", "click", "pydantic", "fastapi"),
        *("boto3", "botocore", "obstore"),
    },
    "jobs": {"serving", "torch", "torchvision", "openvino", "fastapi"},
    "serving": {"jobs", "obstore"},
}
# folder → its rooms, layer by layer: each imports from itself and from later layers alone
LAYERS = {
    "serving": (
        {"app"},
        {"launch", "deployment"},
        {"http", "grpc"},
        {"replicas"},
        {"service"},
        {"admission", "models"},
        {"config"},
        {"protocol", "auth"},
        {"telemetry", "errors", "storage"},
        {"storage_faults"},
    ),
}
MOST_ROOMS = 20  # in a folder

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
        "serving/launch.py",
        "serving/models/predictor.py",
        "serving/replicas/control.py",
    },
    "fastapi": {
        "serving/http/app.py",
        "serving/http/classify.py",
        "serving/http/oip.py",
        "serving/http/oip_schemas.py",
        "serving/http/pages.py",
    },
    "torch": {
        "model_repo/inception_v3/runtimes/checkpoint.py",
        "model_repo/inception_v3/runtimes/device_runner.py",
        "model_repo/inception_v3/runtimes/network.py",
        "model_repo/inception_v3/runtimes/openvino_runtime.py",
        "model_repo/inception_v3/preprocess.py",
        "model_repo/inception_v3/options.py",
        "model_repo/inception_v3/runtimes/torch_runtime.py",
    },
    "openvino": {"model_repo/inception_v3/runtimes/openvino_runtime.py"},
    "boto3": {"jobs/storage/clients.py", "serving/storage.py"},
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


def modules_imported(path: Path) -> set[Path]:
    """Return the modules of this repository that `path` imports, of packages the `__init__`."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if _module(name) else str(node.module) for name in names]
        found |= {module for name in names if (module := _module(name))}
    return found


def _module(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    files = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def room(path: Path) -> str:
    """Return the folder below the top one that a module lies in, or its own name."""
    return path.relative_to(ROOT).with_suffix("").parts[1]


def modules(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_run_one_way(folder):
    for path in modules(folder):
        wrong = imports_of(path) & FORBIDDEN[folder]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


@pytest.mark.parametrize("folder", LAYERS)
def test_rooms_import_later_layers_alone(folder):
    place = {name: number for number, layer in enumerate(LAYERS[folder]) for name in layer}
    wrong = [
        f"{path.relative_to(ROOT)} imports {other.relative_to(ROOT)}"
        for path in modules(folder)
        if path.parent != ROOT / folder or path.name != "__init__.py"
        for other in modules_imported(path)
        if other.is_relative_to(ROOT / folder)
        if room(path) != room(other) and place[room(path)] >= place[room(other)]
    ]

    assert not wrong


@pytest.mark.parametrize("folder", LAYERS)
def test_no_imports_run_in_circles(folder):
    imports = {path: modules_imported(path) - {path} for path in modules(folder)}

    TopologicalSorter(imports).prepare()


@pytest.mark.parametrize("folder", LAYERS)
def test_folders_have_few_rooms(folder):
    found = modules(folder)
    rooms = {path for path in found if path.name != "__init__.py"} | {path.parent for path in found}
    counts = Counter(each.parent for each in rooms - {ROOT / folder})

    assert {each: count for each, count in counts.items() if count > MOST_ROOMS} == {}


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
