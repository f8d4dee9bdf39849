import contextlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from model_repo.inception_v3.options import RuntimeOptions
from model_repo.inception_v3.repository.weights import Weights
from model_repo.inception_v3.runtimes.openvino_runtime import (
    build_runtime,
    ensure_converted,
)

OPTIONS = RuntimeOptions(runtime="openvino", precision="fp32")
WEIGHTS = Weights(None, "untrained:0")

CONVERT = """
from model_repo.inception_v3.runtimes.openvino_runtime import ensure_converted
from model_repo.inception_v3.spec import ModelSpec
from model_repo.inception_v3.repository.weights import Weights
spec = ModelSpec(name="small", version="1", resize_size=128, crop_size=107, labels=("a", "b", "c"))
print("ready", flush=True)
input()
print(ensure_converted(spec, Weights(None, "untrained:0")))
"""


@pytest.fixture
def converted(small_spec):
    """The converted small network, shared by the tests that do not harm it."""
    return ensure_converted(small_spec, WEIGHTS)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run_small(spec):
    pixels = np.full((1, 3, spec.crop_size, spec.crop_size), 100, np.uint8)
    return build_runtime(spec, WEIGHTS, OPTIONS)(pixels)["logits"]


def test_converted_network_lies_in_the_users_cache_folder(converted, cache_home):
    assert converted.is_relative_to(cache_home / "labelmill" / "openvino")
    assert sorted(path.name for path in converted.parent.iterdir()) == ["model.bin", "model.xml"]


def test_without_xdg_cache_home_it_lies_in_the_home_folder(
    converted, small_spec, tmp_path, monkeypatch
):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".cache" / "labelmill" / "openvino"
    folder.parent.mkdir(parents=True)
    folder.symlink_to(converted.parents[1])

    assert ensure_converted(small_spec, WEIGHTS).is_relative_to(folder)


def test_network_is_converted_once(converted, small_spec):
    before = converted.stat().st_mtime_ns, converted.stat().st_ino

    assert ensure_converted(replace(small_spec), replace(WEIGHTS)) == converted
    assert (converted.stat().st_mtime_ns, converted.stat().st_ino) == before


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("cat", "dog")},
        {"crop_size": 111},
        {"mean": (0.5, 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.5)},
        {"transform_input": False},
    ],
)
def test_another_spec_is_another_network(converted, small_spec, change, empty_cache, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "model_repo.inception_v3.runtimes.openvino_runtime._convert",
        lambda *args: seen.append(args[2]),
    )

    ensure_converted(replace(small_spec, **change), WEIGHTS)

    assert len(seen) == 1
    assert seen[0].name != converted.parent.name


def test_spec_that_changes_only_names_is_the_same_network(converted, small_spec):
    renamed = replace(small_spec, name="other", version="2", labels=("x", "y", "z"))

    assert ensure_converted(renamed, WEIGHTS) == converted


def test_other_weights_are_another_network_with_other_answers(converted, small_spec):
    other = Weights(None, "untrained:1")
    pixels = np.full((1, 3, 107, 107), 100, np.uint8)

    assert ensure_converted(small_spec, other) != converted
    logits = build_runtime(small_spec, other, OPTIONS)(pixels)["logits"]
    assert not np.allclose(logits, run_small(small_spec))


def test_leftovers_of_a_killed_conversion_do_no_harm(converted, small_spec, empty_cache):
    folder = empty_cache / "labelmill" / "openvino"
    (folder / "tmp_leftover").mkdir(parents=True)
    (folder / "tmp_leftover" / "model.xml").write_text("<half")
    (folder / converted.parent.name).mkdir()
    (folder / converted.parent.name / "model.xml").write_text("<half")
    (folder / f"{converted.parent.name}.lock").touch()

    assert np.isfinite(run_small(small_spec)).all()
    assert {path.name for path in folder.iterdir()} == {
        "tmp_leftover",
        converted.parent.name,
        f"{converted.parent.name}.lock",
    }


def test_two_processes_convert_one_network(converted, empty_cache):
    environment = os.environ | {"XDG_CACHE_HOME": str(empty_cache)}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CONVERT],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        for _ in range(2)
    ]  # fmt: skip
    assert [child.stdout.readline() for child in children] == ["ready\n"] * 2

    paths = {child.communicate("\n", timeout=120)[0].strip() for child in children}

    assert [child.returncode for child in children] == [0, 0]
    folder = empty_cache / "labelmill" / "openvino" / converted.parent.name
    assert paths == {str(folder / "model.xml")}
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, f"{folder.name}.lock"}


def test_failed_conversion_leaves_nothing_behind(small_spec, empty_cache, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("openvino.save_model", fail)
    with pytest.raises(OSError, match="no space"):
        ensure_converted(small_spec, WEIGHTS)

    (lock,) = (empty_cache / "labelmill" / "openvino").iterdir()
    assert lock.suffix == ".lock"


def test_forward_passes_may_run_on_every_core(small_spec, converted):
    run = build_runtime(small_spec, WEIGHTS, OPTIONS)
    pixels = np.zeros((8, 3, small_spec.crop_size, small_spec.crop_size), np.uint8)
    seen = set()
    run(pixels)  # compiling, which comes first, does pin threads

    with ThreadPoolExecutor(1) as pool:
        passes = pool.submit(lambda: [run(pixels) for _ in range(10)])
        while not passes.done():
            for task in map(int, os.listdir("/proc/self/task")):
                with contextlib.suppress(OSError):  # it ended meanwhile
                    seen.add(frozenset(os.sched_getaffinity(task)))

    assert seen == {frozenset(os.sched_getaffinity(os.getppid()))}
