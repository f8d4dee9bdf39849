import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from model_repo.inception_v3.errors import WeightsError
from model_repo.inception_v3.postprocess import softmax
from model_repo.inception_v3.repository.config import BUILTIN_REPOSITORY
from tests.support.triton import InferenceRequest, Tensor, ask, run_model, scores

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the model whose config asks for untrained weights."""
    folder = tmp_path_factory.mktemp("triton") / "inception_v3"
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.pt")
    shutil.copytree(BUILTIN_REPOSITORY / "inception_v3", folder, ignore=ignored)
    with (folder / "config.pbtxt").open("a") as file:
        file.write('parameters { key: "weights" value { string_value: "untrained" } }')
    return folder


@pytest.fixture(scope="module")
def adapter(folder):
    with run_model(folder) as model:
        yield model


@pytest.fixture(scope="module")
def expected(openvino_classifier, pixels):
    return softmax(openvino_classifier.predict(pixels).logits)


def test_scores_are_the_classifiers(adapter, pixels, expected):
    (response,) = ask(adapter, pixels)

    assert scores(response).dtype == np.float32
    np.testing.assert_allclose(scores(response), expected, rtol=0, atol=TOLERANCE)


def test_every_request_gets_its_own_images(adapter, pixels, expected):
    responses = ask(adapter, pixels[3:4], pixels[:3], pixels[4:6])

    for response, rows in zip(responses, ([3], [0, 1, 2], [4, 5]), strict=True):
        np.testing.assert_allclose(scores(response), expected[rows], rtol=0, atol=TOLERANCE)


def test_requests_share_one_forward_pass(adapter, pixels, monkeypatch):
    batches = []
    predict = adapter._classifier.predict
    monkeypatch.setattr(
        adapter._classifier, "predict", lambda batch: batches.append(len(batch)) or predict(batch)
    )

    ask(adapter, pixels[:1], pixels[1:3])

    assert batches == [3]


def test_bad_requests_fail_alone(adapter, pixels, expected):
    small, floats = pixels[:1, :, :100], pixels[:1].astype(np.float32)

    first, good, second = ask(adapter, small, pixels[:2], floats)

    assert [first.has_error(), good.has_error(), second.has_error()] == [True, False, True]
    assert "got uint8 [1, 3, 100, 299]" in first.error().message()
    assert "got float32" in second.error().message()
    np.testing.assert_allclose(scores(good), expected[:2], rtol=0, atol=TOLERANCE)


def test_only_bad_requests_need_no_forward_pass(adapter, pixels):
    responses = ask(adapter, pixels[:0], pixels[0])

    assert [response.has_error() for response in responses] == [True, True]


def test_request_without_pixels_is_told_so(adapter, pixels):
    (response,) = adapter.execute([InferenceRequest([Tensor("images", pixels[:1])])])

    assert "no input 'pixels'" in response.error().message()


def test_weights_that_are_not_there_stop_the_model(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "inception_v3")
    config = tmp_path / "inception_v3" / "config.pbtxt"
    config.write_text(config.read_text().replace('"untrained"', '"/gone.safetensors"'))

    with pytest.raises(WeightsError, match=r"'/gone.safetensors' do not exist"):
        run_model(config.parent).__enter__()


def test_instances_share_the_cores(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    shutil.copytree(folder, tmp_path / "inception_v3")
    with (tmp_path / "inception_v3" / "config.pbtxt").open("a") as file:
        file.write("instance_group { kind: KIND_CPU count: 3 }")

    with run_model(tmp_path / "inception_v3") as model:
        assert model._classifier.options.threads == 2


@pytest.mark.parametrize(("visible", "device"), [(None, "0"), ("5,6", "5")])
def test_gpu_instance_sees_the_device_that_triton_assigns(folder, monkeypatch, visible, device):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")

    with run_model(folder, kind="GPU"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == device


def test_adapter_finds_the_package_beside_it(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model_repo" / "inception_v3")
    code = (
        "import sys, types, importlib;"
        "sys.modules['triton_python_backend_utils'] = types.ModuleType('stub');"
        # An installed labelmill would be found first.
        "sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in repr(f)];"
        f"sys.path[:] = [p for p in sys.path if p not in ('', {str(BUILTIN_REPOSITORY.parent)!r})];"
        f"sys.path.append({str(tmp_path / 'model_repo' / 'inception_v3')!r});"
        "importlib.import_module('1.model');"
        "print(sys.modules['model_repo.inception_v3'].__file__)"
    )

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert result.stdout.startswith(str(tmp_path)), result.stderr


def test_loading_leaves_no_cache_folder_in_the_repository_itself(folder):
    assert not (folder.parent / "__pycache__").exists()
