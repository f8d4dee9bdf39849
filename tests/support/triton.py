"""Triton's side of the python backend, as far as 1/model.py meets it."""

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
from google.protobuf import json_format

from model_repo.inception_v3.repository.config import parse_config


class Tensor:
    """As the C++ one: named, C-contiguous after construction, shape and dtype of its array."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name, self._array = name, np.ascontiguousarray(array)

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class TritonError:
    def __init__(self, message: str) -> None:
        self._message = message

    def message(self) -> str:
        return self._message


class InferenceRequest:
    def __init__(self, inputs: list[Tensor]) -> None:
        self._inputs = inputs

    def inputs(self) -> list[Tensor]:
        return self._inputs


class InferenceResponse:
    def __init__(self, output_tensors: list[Tensor], error: TritonError | None = None) -> None:
        self._tensors, self._error = output_tensors, error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error


def get_input_tensor_by_name(request: InferenceRequest, name: str) -> Tensor | None:
    return next((tensor for tensor in request.inputs() if tensor.name() == name), None)


@contextmanager
def run_model(folder: Path, version: str = "1", kind: str = "CPU") -> Iterator:
    """Load, initialise and at the end finalise a model's `<version>/model.py`, as Triton does."""
    name, path, modules = f"{version}.model", list(sys.path), dict(sys.modules)
    backend = ModuleType("triton_python_backend_utils")
    for item in (Tensor, TritonError, InferenceRequest, InferenceResponse):
        setattr(backend, item.__name__, item)
    backend.get_input_tensor_by_name = get_input_tensor_by_name
    sys.modules[backend.__name__] = backend
    sys.path += [str(folder / version), str(folder)]
    try:
        model = importlib.import_module(name).TritonPythonModel()
        model.initialize(
            {
                "model_name": folder.name,
                "model_version": version,
                "model_repository": str(folder),
                "model_config": to_json(folder / "config.pbtxt"),
                "model_instance_kind": kind,
                "model_instance_device_id": "0",
                "model_instance_name": f"{folder.name}_0_0",
            }
        )
        yield model
        model.finalize()
    finally:
        sys.path[:] = path
        for module in (version, name, backend.__name__):
            sys.modules.pop(module, None)
            if module in modules:
                sys.modules[module] = modules[module]


def to_json(config_path: Path) -> str:
    config = parse_config(config_path)
    return json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True))


def ask(model, *batches: np.ndarray) -> list[InferenceResponse]:
    """Send one request per batch of pixels, all at once."""
    return model.execute([InferenceRequest([Tensor("pixels", batch)]) for batch in batches])


def scores(response: InferenceResponse) -> np.ndarray:
    assert not response.has_error(), response.error().message()
    (tensor,) = response.output_tensors()
    assert tensor.name() == "classification"
    return tensor.as_numpy()
