"""The same bytes give the same prediction: torchvision's own code, both runtimes and Triton."""

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import Inception_V3_Weights

from model_repo.inception_v3.classifier import Classifier
from model_repo.inception_v3.options import RuntimeOptions
from model_repo.inception_v3.postprocess import postprocess, softmax
from model_repo.inception_v3.preprocess import preprocess
from model_repo.inception_v3.repository.config import Model
from model_repo.inception_v3.repository.weights import find_weights
from tests.support.probe import IMAGE_COUNT, build_torchvisions, normalise
from tests.support.triton import ask, run_model, scores

# On the softmax score of one class, in fp32:
SCORE_TOLERANCE = 1e-4  # from the same pixels, whatever computes
PRESET_TOLERANCE = 5e-3  # from the same bytes: some pixels are one level off torchvision's preset

RUNTIMES = ("torch", "openvino", "triton")


@pytest.fixture(scope="module")
def pixels(images):
    return np.stack([preprocess(image).pixels for image in images])


@pytest.fixture(scope="module")
def torchvisions(calibrated_state_dict) -> Callable[[torch.Tensor], np.ndarray]:
    """Torchvision's own network, eager: normalised images → scores [images, classes]."""
    network = build_torchvisions()
    network.load_state_dict(calibrated_state_dict)
    network.eval().to(memory_format=torch.channels_last)  # only faster

    @torch.inference_mode()
    def run(batch):
        return torch.cat([network(part).softmax(dim=1) for part in batch.split(16)]).numpy()

    return run


@pytest.fixture(scope="module")
def torchvision_scores(images, torchvisions) -> np.ndarray:
    """What torchvision's preset and network say of the bytes, with none of our code."""
    preset = Inception_V3_Weights.IMAGENET1K_V1.transforms()
    opened = [Image.open(io.BytesIO(image)).convert("RGB") for image in images]
    return torchvisions(torch.stack([preset(image) for image in opened]))


@pytest.fixture(scope="module")
def same_pixels_reference(pixels, torchvisions) -> np.ndarray:
    """What torchvision's network says of our pixels of the first 32 images."""
    return torchvisions(normalise(pixels[:32]))


def predict(model: Model, pixels: np.ndarray, runtime: str) -> np.ndarray:
    options = RuntimeOptions(runtime=runtime, precision="fp32", threads=2)
    classifier = Classifier.load(model, find_weights(model), options)
    return np.concatenate([classifier.predict(part).logits for part in np.split(pixels, 4)])


@pytest.fixture(scope="module")
def results(calibrated_model, pixels) -> dict[str, np.ndarray]:
    """Runtime → scores [images, classes]."""
    results = {
        runtime: softmax(predict(calibrated_model, pixels, runtime))
        for runtime in ("torch", "openvino")
    }
    with run_model(calibrated_model.folder.parent) as adapter:
        responses = [response for part in np.split(pixels, 4) for response in ask(adapter, part)]
        results["triton"] = np.concatenate([scores(response) for response in responses])
    return results


def test_weights_tell_images_apart(torchvision_scores):
    ordered = np.sort(torchvision_scores, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]

    assert len(torchvision_scores) == IMAGE_COUNT
    assert len(set(torchvision_scores.argmax(axis=1))) >= 20
    assert np.median(margins) > 0.1
    assert margins.min() > 2 * SCORE_TOLERANCE


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_top_label_is_torchvisions(torchvision_scores, results, runtime):
    np.testing.assert_array_equal(
        results[runtime].argmax(axis=1), torchvision_scores.argmax(axis=1)
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_scores_are_torchvisions_from_the_same_bytes(torchvision_scores, results, runtime):
    assert np.abs(results[runtime] - torchvision_scores).max() <= PRESET_TOLERANCE


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_scores_are_torchvisions_from_the_same_pixels(same_pixels_reference, results, runtime):
    assert np.abs(results[runtime][:32] - same_pixels_reference).max() <= SCORE_TOLERANCE


def test_predictions_name_torchvisions_labels(calibrated_model, pixels, torchvision_scores):
    labels = calibrated_model.spec.labels
    logits = predict(calibrated_model, pixels[:8], "openvino")

    predictions = postprocess(logits, labels, top_k=1)

    expected = [labels[index] for index in torchvision_scores[:8].argmax(axis=1)]
    assert [prediction.top.label for prediction in predictions] == expected


def test_without_transform_input_labels_would_differ(calibrated_model, pixels, torchvision_scores):
    spec = replace(calibrated_model.spec, transform_input=False)

    logits = predict(Model(spec, calibrated_model.folder), pixels[:16], "torch")

    agreement = (logits.argmax(axis=1) == torchvision_scores[:16].argmax(axis=1)).mean()
    assert agreement < 0.7
    assert np.abs(softmax(logits) - torchvision_scores[:16]).max() > 100 * SCORE_TOLERANCE
