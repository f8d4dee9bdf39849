"""`labelmill models check`, with real networks on small pictures, and what jobs make of it."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from jobs.__main__ import main
from jobs.check_precision import Checked
from jobs.commit.generation import check_output
from jobs.errors import SpecError
from jobs.storage import Storage
from jobs.verify import verify
from model_repo.inception_v3 import Classifier, RuntimeOptions, load_model, preprocess
from model_repo.inception_v3.repository.config import BUILTIN_REPOSITORY
from model_repo.inception_v3.repository.weights import Weights
from model_repo.inception_v3.runtimes.checkpoint import load_state_dict
from tests.support.images import encode, photo
from tests.support.jobs import read_rows

SIDE = 107
UNTRAINED = Weights(None, "untrained:0")
CHECKED = Checked(
    precision="bf16",
    runtime="openvino",
    device="cpu",
    hardware="a CPU",
    model="lamp:2",
    weights_sha256="abc",
    images=1000,
    skipped=2,
    top1_kept=0.998,
    top5_overlap=0.99,
    largest_change=0.02,
    cpu_ms=50.0,
    fp32_cpu_ms=100.0,
    images_per_s=40.0,
    fp32_images_per_s=20.0,
)

bf16 = pytest.mark.skipif(
    "avx512_bf16" not in Path("/proc/cpuinfo").read_text(), reason="this CPU computes no bf16"
)


def _parameter(precision: str) -> str:
    return f'parameters {{ key: "precision" value {{ string_value: "{precision}" }} }}'


def picture(seed: int) -> bytes:
    """A photo; one of an odd seed is dim."""
    return encode((photo(120, 110, seed) * (0.2 if seed % 2 else 1)).astype(np.uint8), "PNG")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(200):
        (folder / f"{seed:03}.png").write_bytes(picture(seed))
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A model `lamp` of small pictures: 1 hardly tells bright from dim, 2 does."""
    root = tmp_path_factory.mktemp("models")
    text = (BUILTIN_REPOSITORY / "inception_v3" / "config.pbtxt").read_text()
    for old, new in (('name: "inception_v3"', 'name: "lamp"'), ("[ 1000 ]", "[ 2 ]")):
        assert old in text
        text = text.replace(old, new)
    for version in "12":
        (root / "lamp" / version).mkdir(parents=True)
    size = f'key: "crop_size" value: {{ string_value: "{SIDE}" }}'
    (root / "lamp" / "config.pbtxt").write_text(f"{text}\nparameters {{ {size} }}\n")
    (root / "lamp" / "labels.txt").write_text("bright\ndim\n")
    model = load_model(root, "lamp:1")
    state = load_state_dict(UNTRAINED, model.spec)
    save_file(state, root / "lamp" / "1" / "model.safetensors")
    save_file(state | _clear_head(model, state), root / "lamp" / "2" / "model.safetensors")
    return root


def _clear_head(model, state):
    """Return a head whose logits lie well apart for bright and dim pictures."""
    options = RuntimeOptions(device="cpu", outputs=("embedding",))
    pixels = np.stack([preprocess(picture(seed), model.spec).pixels for seed in range(16)])
    embedding = Classifier.load(model, UNTRAINED, options).predict(pixels).embedding
    bright, dim = embedding[::2].mean(axis=0), embedding[1::2].mean(axis=0)
    weight = state["fc.weight"].new_tensor(np.stack([bright - dim, dim - bright]))
    weight = weight / (weight[0] @ weight.new_tensor(bright - dim)) * 4
    return {"fc.weight": weight, "fc.bias": -weight @ weight.new_tensor((bright + dim) / 2)}


@pytest.fixture
def run(monkeypatch, capsys, repository):
    def run(*arguments: object) -> tuple[int, str, str]:
        options = ("--model-repository", repository)
        words = ["labelmill", "models", "check", *arguments, *options]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def lamp_job(make_job, repository, pictures, tmp_path):
    """Resolve a job of some pictures with the clear model."""

    def resolve(**options):
        values = {"model": "lamp", "model_repository": str(repository), "limit": 8, "weights": None}
        return make_job(pictures, tmp_path / "out", **{**values, **options})

    return resolve


@bf16
def test_a_network_that_keeps_its_labels_may_run_in_bf16(run, pictures, lamp_job, run_job_here):
    code, out, err = run("lamp", "--precision", "bf16", "--images", pictures)

    assert code == 0
    assert "top-1 kept            100.0 %" in out
    assert "images                200, 1 skipped" in out
    assert "skipped file://" in err
    assert "broken.png" in err
    *_, option, parameter = out.splitlines()
    assert option.split() == ["option", "--precision", "bf16"]
    assert parameter.split(None, 1)[1] == _parameter("bf16")

    job = run_job_here(lamp_job(precision="bf16"))

    assert job["rows"]["precision"] == "bf16"
    assert set(job["counts"]["errors"]) <= {"not_an_image"}


@bf16
def test_a_network_that_loses_labels_is_told_to_stay_in_fp32(run, pictures):
    code, out, _ = run("lamp:1", "--images", f"{pictures}/*.png", "--json")

    found = json.loads(out)
    assert (code, found["passed"], found["precision"], found["images"]) == (3, False, "bf16", 200)
    assert found["top1_kept"] < found["threshold"] == 0.995
    assert found["recommended"] == "fp32"
    assert 0 < found["largest_change"] < 1
    assert min(found["cpu_ms"], found["fp32_images_per_s"]) > 0


@bf16
def test_too_few_images_pass_no_check(run, pictures, repository):
    before = sorted(repository.rglob("*"))
    options = ("--precision", "bf16", "--images", pictures, "--limit", 3)
    code, out, _ = run("lamp", *options, "--weights", "untrained")

    assert code == 3
    assert "not passed: fewer than 200 images" in out
    assert "--precision fp32" in out
    assert sorted(repository.rglob("*")) == before


@pytest.mark.parametrize(
    ("images", "top1_kept", "shortfall"),
    [
        (200, 199 / 200, None),
        (1000, 994 / 1000, "less than 99.5% of labels kept"),
        (199, 1.0, "fewer than 200 images"),
    ],
)
def test_a_check_passes_where_enough_of_enough_images_is_kept(images, top1_kept, shortfall):
    check = replace(CHECKED, images=images, top1_kept=top1_kept)

    assert (check.shortfall, check.passed) == (shortfall, shortfall is None)
    assert check.recommended == ("fp32" if shortfall else "bf16")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("lamp",), 2, "Missing option '--images'"),
        (("lamp", "--images", "PICTURES", "--precision", "fp32"), 2, "'fp32' is not one of"),
        (("lamp", "--images", "/nowhere", "--precision", "bf16"), 2, "does not exist"),
        (("moth", "--images", "PICTURES", "--precision", "bf16"), 2, "has no model 'moth'"),
        (("lamp", "--images", "PICTURES", "--precision", "fp16"), 2, "fp16 needs a CUDA device"),
        (("lamp", "--images", "PICTURES/b*", "--precision", "bf16"), 1, "none of 1 objects"),
    ],
)
def test_what_cannot_be_checked_is_one_sentence(
    run, pictures, monkeypatch, arguments, code, message
):
    monkeypatch.setattr(
        "model_repo.inception_v3.runtimes.openvino_runtime.computes_bf16", lambda: True
    )
    words = [word.replace("PICTURES", str(pictures)) for word in arguments]

    found, out, err = run(*words)

    assert (found, out) == (code, "")
    assert message in err.splitlines()[-1]


def test_a_machine_without_bf16_checks_nothing(run, pictures, monkeypatch):
    monkeypatch.setattr(
        "model_repo.inception_v3.runtimes.openvino_runtime.computes_bf16", lambda: False
    )

    code, _, err = run("lamp", "--images", pictures, "--precision", "bf16")

    assert code == 2
    assert "this machine's CPU does not compute in bf16" in err


# --- Jobs ---------------------------------------------------------------------------------------


@bf16
def test_the_precision_of_the_models_config_is_the_jobs_unless_an_option_says_otherwise(
    lamp_job, repository, tmp_path, run_job_here
):
    shutil.copytree(repository, tmp_path / "models")
    with (tmp_path / "models" / "lamp" / "config.pbtxt").open("a") as config:
        config.write(_parameter("bf16"))
    models = {"model_repository": str(tmp_path / "models")}

    assert run_job_here(lamp_job(**models))["rows"]["precision"] == "bf16"
    assert {row["precision"] for row in read_rows(tmp_path / "out")} == {"bf16"}
    assert lamp_job(**models, precision="fp32").inference.options.precision == "fp32"
    assert verify(str(tmp_path / "out"), sample=4).same == 4


def test_another_precision_that_is_asked_for_is_another_job(lamp_job, run_job_here):
    record = run_job_here(lamp_job())

    with pytest.raises(SpecError, match="precision was 'fp32' and is now 'bf16'"):
        check_output(lamp_job(precision="bf16"), record, Storage())
