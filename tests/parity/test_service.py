"""The same bytes give the same scores through a job and through every door of the service."""

import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
import tritonclient.grpc
import tritonclient.http

from model_repo.inception_v3.preprocess import preprocess
from tests.support.probe import CLASS_COUNT
from tests.support.service import ROOT, clean_environment, run_service

pytestmark = pytest.mark.ray

TOLERANCE = 1e-5  # one classifier and one runtime; only the batches differ
COUNT = 24


@pytest.fixture(scope="module")
def files(images, tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{number:02}" for number in range(COUNT)]
    for path, image in zip(paths, images, strict=False):
        path.write_bytes(image)
    return paths


@pytest.fixture(scope="module")
def job_scores(files, calibrated_model, tmp_path_factory) -> np.ndarray:
    """What a job's rows say: scores [images, classes]."""
    output = tmp_path_factory.mktemp("labels")
    repository = str(calibrated_model.folder.parents[1])
    command = [sys.executable, "-m", "jobs", "label", str(files[0].parent), str(output)]
    options = ["--model-repository", repository, "--model", "probe", "--num-gpus", "0"]
    subprocess.run(
        [*command, *options, "--top-k", str(CLASS_COUNT)],
        check=True,
        cwd=ROOT,
        env=clean_environment(),
    )
    rows = pq.read_table(output / "outcome=ok").sort_by("uri").to_pylist()
    assert len(rows) == COUNT
    return np.array([_by_index(row["labels"]) for row in rows])


@pytest.fixture(scope="module")
def probe_service(calibrated_model, tmp_path_factory):
    repository = calibrated_model.folder.parents[1]
    arguments = ["models=probe", f"model_repository={repository}", "num_gpus=0"]
    with run_service(tmp_path_factory.mktemp("service"), *arguments) as running:
        yield running


def _by_index(labels: list[dict]) -> list[float]:
    return [each["score"] for each in sorted(labels, key=lambda each: each["index"])]


def _classify(service, path: Path) -> list[float]:
    answer = service.post(path.read_bytes(), top_k=CLASS_COUNT).json()
    return _by_index(answer["predictions"][0]["labels"])


def _classify_all(service, paths: list[Path]) -> np.ndarray:
    return np.array([_classify(service, path) for path in paths])


def _classify_form(service, paths: list[Path]) -> np.ndarray:
    form = [("image", (path.name, path.read_bytes())) for path in paths]
    url = f"{service.url}/v1/classify?top_k={CLASS_COUNT}"
    predictions = httpx.post(url, files=form, timeout=60).json()["predictions"]
    return np.array([_by_index(each["labels"]) for each in predictions])


def _infer(client, module, paths: list[Path]) -> np.ndarray:
    """Ask in batches of 8, half of them as images and half as pixels."""
    scores = []
    for number, start in enumerate(range(0, COUNT, 8)):
        data = [path.read_bytes() for path in paths[start : start + 8]]
        if number % 2:
            pixels = np.stack([preprocess(each).pixels for each in data])
            given = module.InferInput("pixels", pixels.shape, "UINT8")
            given.set_data_from_numpy(pixels)
        else:
            given = module.InferInput("image", [8, 1], "BYTES")
            given.set_data_from_numpy(np.array(data, dtype=object)[:, None])
        answer = client.infer("probe" if number % 2 else "probe_image", [given])
        scores.append(answer.as_numpy("classification"))
    return np.concatenate(scores)


def _infer_http(service, paths: list[Path]) -> np.ndarray:
    address = service.url.removeprefix("http://")
    with tritonclient.http.InferenceServerClient(address) as client:
        return _infer(client, tritonclient.http, paths)


def _infer_grpc(service, paths: list[Path]) -> np.ndarray:
    with tritonclient.grpc.InferenceServerClient(service.grpc) as client:
        return _infer(client, tritonclient.grpc, paths)


@pytest.mark.parametrize("ask", [_classify_all, _classify_form, _infer_http, _infer_grpc])
def test_service_and_job_say_the_same(probe_service, job_scores, files, ask):
    scores = ask(probe_service, files)

    assert scores.shape == (COUNT, CLASS_COUNT)
    np.testing.assert_allclose(scores, job_scores, rtol=0, atol=TOLERANCE)
    assert len(set(scores.argmax(axis=1))) > 5  # they are not all the same
