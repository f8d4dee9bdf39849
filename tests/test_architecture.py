"""The import rules: data and imports run one way, and each folder knows only what it must."""

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
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
        "serving/launch.py",
        "serving/models/predictor.py",
        "serving/replicas/control.py",
        "serving/telemetry/metrics.py",
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


MOST_ROOMS = 20  # in a folder

# folder → its rooms; each may import what is right of it, and none that a comma sets beside it
ROOMS = {
    "model_repo/inception_v3": """
        1, __init__ → classifier → runtimes → repository → preprocess, agreement
        → options, s3, decoding, postprocess → spec, errors, cache
    """,
    "jobs": """
        __main__ → cli → run, demo → planning, check_precision → verify, progress
        → labelling, commit → listing → job → inputs, dataset → storage
        → __init__, errors, digests, resources, tallies
    """,
    "serving": """
        app → launch, deployment → http, grpc → replicas → service → admission, models
        → config → protocol, auth → __init__, telemetry, errors
    """,
}


def imported_names(path: Path) -> Iterator[str]:
    """Yield every name that a module imports, in full: `a.b.c` for `from a.b import c`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported_names(path)}


def modules_imported(path: Path, folder: str) -> set[Path]:
    """Return the modules of `folder` that a module of it imports, wherever it does."""
    names = ((name, name.rpartition(".")[0]) for name in imported_names(path))
    found = (module_named(name) or module_named(parent) for name, parent in names)
    return {module for module in found if module and module.is_relative_to(ROOT / folder)}


def module_named(name: str) -> Path | None:
    place = ROOT / name.replace(".", "/")
    module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return module if module.is_file() else None


def modules(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_run_one_way(folder):
    for path in modules(folder):
        wrong = imports_of(path) & FORBIDDEN[folder]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def room_of(path: Path, folder: str) -> str:
    return path.relative_to(ROOT / folder).parts[0].removesuffix(".py")


@pytest.mark.parametrize("folder", ROOMS)
def test_rooms_import_what_is_right_of_them(folder):
    levels = [level.split(",") for level in "".join(ROOMS[folder].split()).split("→")]
    place = {room: number for number, level in enumerate(levels) for room in level}
    assert place.keys() == {room_of(path, folder) for path in modules(folder)}

    for path in modules(folder):
        room = room_of(path, folder)
        rooms = {room_of(module, folder) for module in modules_imported(path, folder)} - {room}
        wrong = {other for other in rooms if place[other] <= place[room]}
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_circle_of_imports(folder):
    graph = {path: modules_imported(path, folder) for path in modules(folder)}

    TopologicalSorter(graph).prepare()  # raises a CycleError that names the circle


@pytest.mark.parametrize("folder", ROOMS)
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
