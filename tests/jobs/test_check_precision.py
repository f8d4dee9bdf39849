"""`labelmill models check`, with real networks on small pictures, and what jobs make of it."""

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from jobs.__main__ import main
from jobs.check_precision import keep_check
from jobs.errors import SpecError
from jobs.job.model import find_model
from jobs.job.resolve import check_output
from jobs.job.spec import load_job_spec
from jobs.storage import Storage
from jobs.verify import verify
from model_repo.inception_v3 import Classifier, RuntimeOptions, load_model, preprocess
from model_repo.inception_v3.checks import format_checks
from model_repo.inception_v3.repository.config import BUILTIN_REPOSITORY
from model_repo.inception_v3.repository.weights import Weights
from model_repo.inception_v3.runtimes.checkpoint import load_state_dict
from tests.support.checked import made_check
from tests.support.images import encode, photo

SIDE = 107
UNTRAINED = Weights(None, "untrained:0")
CHECKS = "model.safetensors.precision.json"

bf16 = pytest.mark.skipif(
    "avx512_bf16" not in Path("/proc/cpuinfo").read_text(), reason="this CPU computes no bf16"
)


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


@pytest.fixture(autouse=True)
def _forget(repository):
    yield
    for path in repository.rglob(CHECKS):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


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
def plan(plan_job, repository, pictures, tmp_path):
    """Plan a job of some pictures with the clear model."""

    def plan(**options):
        values = {"model": "lamp", "model_repository": str(repository), "limit": 8, "weights": None}
        return plan_job(pictures, tmp_path / "out", **{**values, **options})

    return plan


@pytest.fixture
def note(repository):
    """Write a check that was passed, or not, beside the weights of the clear model."""

    def note(**changes):
        spec = load_job_spec(
            {"input": "a", "output": "b", "model": "lamp", "model_repository": str(repository)}
        )
        model, weights = find_model(spec, Storage())
        check = made_check(model.spec, weights.sha256, **changes)
        return keep_check(check, weights, Storage())

    return note


@bf16
def test_a_network_that_keeps_its_labels_runs_in_bf16_from_then_on(
    run, pictures, repository, plan, tmp_path, run_job_here
):
    code, out, err = run("lamp", "--precision", "bf16", "--images", pictures)

    assert code == 0
    assert "top-1 kept            100.0 %" in out
    assert "images                200, 1 skipped" in out
    assert "skipped file://" in err
    assert "broken.png" in err
    path = repository / "lamp" / "2" / CHECKS
    assert out.splitlines()[-1].split() == ["written", str(path)]
    (written,) = json.loads(path.read_text())
    assert (written["images"], written["skipped"], written["top1_kept"]) == (200, 1, 1.0)
    assert 0 < written["largest_change"] < 0.1
    assert min(written["cpu_ms"], written["fp32_images_per_s"]) > 0

    job = run_job_here(plan())

    assert job["rows"]["precision"] == "bf16"
    assert job["precision_check"] == written
    assert set(job["counts"]["errors"]) <= {"unreadable"}


@bf16
def test_a_network_that_loses_labels_stays_in_fp32(run, pictures, repository, plan):
    code, out, _ = run("lamp:1", "--images", f"{pictures}/*.png", "--json")

    found = json.loads(out)
    assert (code, found["passed"], found["precision"], found["images"]) == (3, False, "bf16", 200)
    assert found["top1_kept"] < found["threshold"] == 0.995
    assert found["written"] == str(repository / "lamp" / "1" / CHECKS)
    assert plan(model="lamp:1").options.precision == "fp32"
    assert plan(model="lamp:2").precision_check is None


@bf16
def test_untrained_weights_are_compared_and_nothing_is_written(run, pictures, repository):
    options = ("--precision", "bf16", "--images", pictures, "--limit", 3)
    code, out, _ = run("lamp", *options, "--weights", "untrained")

    assert code == 3
    assert "not passed: fewer than 200 images" in out
    assert "no: untrained weights are for trials" in out
    assert not list(repository.rglob(CHECKS))


@bf16
def test_a_check_that_cannot_be_written_is_shown_and_fails(run, pictures, repository):
    path = repository / "lamp" / "2" / CHECKS
    path.mkdir()

    options = ("--precision", "bf16", "--images", pictures, "--limit", 3, "--json")
    code, out, _ = run("lamp", *options)

    assert code == 1
    found = json.loads(out)
    assert (found["images"], found["written"]) == (3, None)
    assert f"cannot write '{path}'" in found["not_written"]
    assert "'--precision auto' does not know of this check" in found["not_written"]


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


# --- Jobs and checks that come and go -------------------------------------------------------------


@bf16
def test_a_job_goes_on_as_it_was_begun_though_a_check_has_come(plan, note, run_job_here):
    begun = run_job_here(plan())
    note()

    again = plan()

    assert (again.options.precision, again.precision_check) == ("fp32", None)
    assert run_job_here(again)["rows"] == begun["rows"]
    assert plan(limit=7).options.precision == "bf16"  # another job, and refused as such


@bf16
def test_a_job_goes_on_as_it_was_begun_though_its_check_is_gone(plan, note, run_job_here, tmp_path):
    written = note().written
    begun = run_job_here(plan())
    Path(written).unlink()

    assert begun["rows"]["precision"] == "bf16"
    again = plan()
    assert run_job_here(again)["rows"] == begun["rows"]
    assert asdict(again.precision_check) == begun["precision_check"]  # and it says so
    assert verify(str(tmp_path / "out"), sample=4).same == 4


@bf16
def test_starting_over_goes_by_the_checks_that_there_are(plan, note, run_job_here, tmp_path):
    run_job_here(plan())
    note()
    record = tmp_path / "out" / "_labelmill" / "job.json"

    def planned():
        return plan(overwrite=True).options.precision

    assert planned() == "bf16"
    # ... but one that was interrupted while it started over goes on in what it had chosen.
    written = json.loads(record.read_text())
    for state in ({"state": "deleting"}, {"state": "running", "overwrites": True}):
        record.write_text(json.dumps(written | state))
        assert planned() == "fp32"
    record.write_text(json.dumps(written | {"state": "running"}))
    assert planned() == "bf16"


def test_another_precision_that_is_asked_for_is_another_job(plan, run_job_here):
    run_job_here(plan())

    with pytest.raises(SpecError, match="precision was 'fp32' and is now 'bf16'"):
        check_output(plan(precision="bf16"), Storage())


# --- Parts ----------------------------------------------------------------------------------------


def test_a_check_of_weights_on_s3_is_written_beside_them(s3_bucket, s3_client):
    s3_client.put_object(Bucket=s3_bucket, Key="w/net.pt", Body=b"weights")
    options = {"input": "a", "output": "b", "weights": f"s3://{s3_bucket}/w/net.pt"}

    def find():
        return find_model(load_job_spec(options), Storage())

    model, weights = find()
    check = made_check(model.spec, weights.sha256)
    kept = keep_check(check, weights, Storage())

    assert kept.written == f"s3://{s3_bucket}/w/net.pt.precision.json"
    body = s3_client.get_object(Bucket=s3_bucket, Key="w/net.pt.precision.json")["Body"].read()
    assert body == format_checks((), check)
    assert find()[1].checks == (check,)
