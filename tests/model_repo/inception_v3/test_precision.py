"""What `auto` is, by the checks beside the weights."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from model_repo.inception_v3.checks import format_checks
from model_repo.inception_v3.classifier import Classifier
from model_repo.inception_v3.errors import ModelError, RepositoryError
from model_repo.inception_v3.options import RuntimeOptions
from model_repo.inception_v3.precision import choose_precision, explain_precision
from model_repo.inception_v3.repository.weights import Weights
from tests.support.checked import made_check

ON_GPU = {"precision": "fp16", "runtime": "torch", "device": "cuda"}


@pytest.fixture(autouse=True)
def native(monkeypatch):
    """A CPU that computes bf16, whatever this one does."""
    monkeypatch.setattr(
        "model_repo.inception_v3.runtimes.openvino_runtime.computes_bf16", lambda: True
    )


@pytest.fixture
def choose(small_spec):
    def choose(*checks, device="cpu", **options):
        data = json.dumps([asdict(check) for check in checks]).encode()
        weights = Weights(None, "untrained:0", data)
        return choose_precision(RuntimeOptions(device=device, **options), small_spec, weights)

    return choose


@pytest.fixture
def make(small_spec):
    return lambda **changes: made_check(
        small_spec, changes.pop("weights_sha256", "untrained:0"), **changes
    )


def test_without_a_check_auto_is_fp32_on_cpus_and_fp16_on_gpus(choose):
    assert choose()[0].precision == "fp32"
    assert choose(device="cuda")[0].precision == "fp16"


def test_auto_is_bf16_on_a_cpu_where_a_check_was_passed(choose, make):
    options, check = choose(make())

    assert (options.precision, options.runtime, check) == ("bf16", "openvino", make())


@pytest.mark.parametrize(
    "changes",
    [
        {"weights_sha256": "of other weights"},
        {"labels_and_config": "of other labels"},
        {"runtime": "torch"},
        ON_GPU,
    ],
)
def test_a_check_of_something_else_is_not_trusted(choose, make, changes):
    options, check = choose(make(**changes))

    assert (options.precision, check) == ("fp32", None)


def test_a_check_that_was_not_passed_keeps_fp32_and_says_so(choose, make):
    options, check = choose(make(top1_kept=0.9949))

    assert options.precision == "fp32"
    assert explain_precision(options, check) == (
        "bf16 kept 99.4 % of top-1 on 1,000 images (checked 2026-11-22): less than 99.5 %, so fp32 "
        "is used"
    )


def test_a_machine_that_does_not_compute_bf16_keeps_fp32(choose, make, monkeypatch):
    monkeypatch.setattr(
        "model_repo.inception_v3.runtimes.openvino_runtime.computes_bf16", lambda: False
    )

    options, check = choose(make())

    assert options.precision == "fp32"
    assert explain_precision(options, check).endswith(
        "this machine does not compute in it, so fp32 is used"
    )


@pytest.mark.parametrize(
    ("changes", "precision"),
    [
        ({}, "fp16"),
        ({"top1_kept": 0.99}, "fp32"),
        ({"images": 20, "top1_kept": 0.95}, "fp16"),  # too few to say anything
    ],
)
def test_auto_is_fp16_on_a_gpu_unless_a_check_says_that_it_fails(choose, make, changes, precision):
    assert choose(make(**ON_GPU, **changes), device="cuda")[0].precision == precision


def test_a_precision_that_is_asked_for_is_used_whatever_a_check_says(choose, make):
    bad = make(top1_kept=0.9)

    options, check = choose(bad, precision="bf16")
    assert (options.precision, check) == ("bf16", bad)
    assert explain_precision(options, check).startswith("bf16 kept 90.0 % of top-1")
    assert choose(make(), precision="fp32") == (
        RuntimeOptions(device="cpu", runtime="openvino", precision="fp32"),
        None,
    )


def test_what_was_not_checked_is_said_of_lower_precisions_alone(choose):
    assert explain_precision(*choose()) is None
    said = explain_precision(*choose(precision="bf16"))
    assert said.startswith("bf16 was not checked with these weights; 'labelmill models check --pre")


def test_a_precision_that_the_device_has_not_is_refused(choose):
    with pytest.raises(ModelError, match="fp16 needs a CUDA device"):
        choose(precision="fp16")


@pytest.mark.skipif(
    "avx512_bf16" not in Path("/proc/cpuinfo").read_text(), reason="this CPU computes no bf16"
)
def test_whoever_loads_a_classifier_gets_what_auto_is(small_model, small_spec):
    weights = Weights(None, "untrained:0", format_checks([], made_check(small_spec, "untrained:0")))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 107, 107), dtype=np.uint8)

    def logits(**options):
        return Classifier.load(small_model, weights, RuntimeOptions(**options)).predict(pixels)

    auto, lower, full = logits(device="cpu"), logits(precision="bf16"), logits(precision="fp32")

    np.testing.assert_array_equal(auto.logits, lower.logits)
    assert not np.array_equal(auto.logits, full.logits)


def test_damaged_checks_are_in_the_way_of_nobody_who_asks_for_fp32(small_spec):
    weights = Weights(Path("model.pt"), "abc", b"{")

    options, _ = choose_precision(RuntimeOptions(precision="fp32"), small_spec, weights)

    assert options.precision == "fp32"
    with pytest.raises(RepositoryError, match=r"model\.pt\.precision\.json is damaged"):
        choose_precision(RuntimeOptions(), small_spec, weights)
