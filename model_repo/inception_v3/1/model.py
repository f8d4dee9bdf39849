"""Triton's python backend: pixels in, softmax scores out, with the code of jobs and the service.

The weights are the model's own unless config.pbtxt has a parameter `weights`, with the values of
`--weights`: an absolute path, `untrained` or `untrained:<seed>`.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

# Triton puts this model's folder on sys.path, but imports use the package's full name.
if importlib.util.find_spec("model_repo") is None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from model_repo.inception_v3.classifier import Classifier, check_pixels
from model_repo.inception_v3.errors import InputError
from model_repo.inception_v3.options import RuntimeOptions
from model_repo.inception_v3.postprocess import softmax
from model_repo.inception_v3.repository.config import load_model
from model_repo.inception_v3.repository.weights import find_weights
from model_repo.inception_v3.spec import Floats, Pixels


class TritonPythonModel:
    """One instance of the model, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the version that Triton names from its repository."""
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"])  # Triton means the model's own folder
        model = load_model(folder.parent, f"{args['model_name']}:{args['model_version']}")
        source = config.get("parameters", {}).get("weights", {}).get("string_value")
        weights = find_weights(model, source)
        self._classifier = Classifier.load(model, weights, _options(args, config))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer `requests`, in order, with one forward pass; a bad one fails alone."""
        answers: list[Any] = []
        batches = []
        for request in requests:
            try:
                batches.append(self._read(request))
                answers.append(None)
            except InputError as exc:
                error = pb_utils.TritonError(str(exc))
                answers.append(pb_utils.InferenceResponse(output_tensors=[], error=error))
        if batches:
            scores = softmax(self._classifier.predict(np.concatenate(batches)).logits)
            parts = iter(np.split(scores, np.cumsum([len(batch) for batch in batches])))
            answers = [_respond(next(parts)) if answer is None else answer for answer in answers]
        return answers

    def finalize(self) -> None:
        """Free the network."""
        del self._classifier

    def _read(self, request: Any) -> Pixels:
        tensor = pb_utils.get_input_tensor_by_name(request, "pixels")
        if tensor is None:
            raise InputError("the request has no input 'pixels'")
        pixels: Pixels = tensor.as_numpy()
        check_pixels(pixels, self._classifier.spec)
        return pixels


def _options(args: dict[str, str], config: dict[str, Any]) -> RuntimeOptions:
    """Use the device that Triton assigns, or this instance's share of the cores."""
    if args["model_instance_kind"] == "GPU":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        device = args["model_instance_device_id"]
        # Before torch is imported, so that it sees this device alone.
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[int(device)] if visible else device
        return RuntimeOptions()
    instances = sum(int(group.get("count", 1)) for group in config.get("instance_group", [])) or 1
    threads = max(1, len(os.sched_getaffinity(0)) // instances)
    return RuntimeOptions(runtime="openvino", threads=threads)


def _respond(scores: Floats) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("classification", scores)])
