"""The OpenVINO runtime: for CPUs, close to the machine's peak.

Converting the network takes seconds, so the result is cached in the user's cache folder, under a
hash of everything that it depends on.
"""

import fcntl
import hashlib
import shutil
import threading
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import openvino

from model_repo.inception_v3.cache import cache_folder, whole_folder
from model_repo.inception_v3.options import Runtime, RuntimeOptions
from model_repo.inception_v3.repository.weights import Weights
from model_repo.inception_v3.spec import OUTPUT_NAMES, Floats, ModelSpec, Pixels

# Larger tiles gain nothing on CPUs and take more memory; the remainder runs one by one.
_TILE = 8
_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
_CONVERTER = "1"  # raise it when the converted network or seeded weights change


def build_runtime(spec: ModelSpec, weights: Weights, options: RuntimeOptions) -> Runtime:
    """Load the converted network, converting it first unless it is cached.

    Raises:
        WeightsError: the weights do not fit.
    """
    core = openvino.Core()
    path = ensure_converted(spec, weights)
    names = options.output_names
    config = {
        "INFERENCE_NUM_THREADS": options.threads,
        "INFERENCE_PRECISION_HINT": _PRECISIONS[options.precision],
        "NUM_STREAMS": 1,
        # Otherwise every process on a machine pins its thread to the same core, the first.
        "ENABLE_CPU_PINNING": False,
    }
    lock = threading.Lock()

    @cache
    def request_for(size: int) -> openvino.InferRequest:
        model = core.read_model(path)
        # Without the other outputs, what only they need is not computed.
        model = openvino.Model([model.output(name) for name in names], model.get_parameters())
        model.reshape([size, 3, spec.crop_size, spec.crop_size])
        return core.compile_model(model, "CPU", config).create_infer_request()

    def run(pixels: Pixels) -> dict[str, Floats]:
        parts: dict[str, list[Floats]] = {name: [] for name in names}
        for tile in _tiles(pixels):
            with lock:  # a request runs one tile at a time
                request = request_for(len(tile))
                request.infer([tile], share_inputs=True)
                for i, name in enumerate(names):
                    parts[name].append(request.get_output_tensor(i).data.copy())
        return {name: np.concatenate(arrays) for name, arrays in parts.items()}

    return run


def cpu_name() -> str:
    """Return the name of this machine's CPU."""
    return str(openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")).strip()


def computes_bf16() -> bool:
    """Say whether this machine's CPU computes bf16 natively (avx512_bf16, amx).

    If not, OpenVINO emulates it, slowly, or computes in fp32.
    """
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def ensure_converted(spec: ModelSpec, weights: Weights) -> Path:
    """Return the converted network's file, making it if necessary; processes may do so at once.

    Raises:
        WeightsError: the weights do not fit.
    """
    folder = cache_folder("openvino") / _cache_key(spec, weights)
    path = folder / "model.xml"
    if _is_complete(path):
        return path
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_complete(path):
            _convert(spec, weights, folder)
    return path


def _is_complete(path: Path) -> bool:
    # A cache cleaner may have deleted one of the two files.
    return path.exists() and path.with_suffix(".bin").exists()


def _convert(spec: ModelSpec, weights: Weights, folder: Path) -> None:
    # Here, because torchvision's import is slow, and a converted network does not need it.
    import torch  # noqa: PLC0415

    from model_repo.inception_v3.runtimes.checkpoint import load_state_dict  # noqa: PLC0415
    from model_repo.inception_v3.runtimes.network import Network  # noqa: PLC0415

    network = Network(spec, load_state_dict(weights, spec)).eval()
    shape = [1, 3, spec.crop_size, spec.crop_size]
    with warnings.catch_warnings(), torch.no_grad():
        # OpenVINO's converter needs a traced module; torch warns that tracing is deprecated.
        warnings.simplefilter("ignore")
        example = torch.zeros(shape, dtype=torch.uint8)
        traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(traced, input=(shape, openvino.Type.u8))
    for output, name in zip(model.outputs, OUTPUT_NAMES, strict=True):
        output.get_tensor().set_names({name})
    shutil.rmtree(folder, ignore_errors=True)
    with whole_folder(folder) as temporary:
        openvino.save_model(model, temporary / "model.xml", compress_to_fp16=False)


def _tiles(pixels: Pixels) -> Iterator[Pixels]:
    whole = len(pixels) - len(pixels) % _TILE
    for start in range(0, whole, _TILE):
        yield pixels[start : start + _TILE]
    for start in range(whole, len(pixels)):
        yield pixels[start : start + 1]


def _cache_key(spec: ModelSpec, weights: Weights) -> str:
    network = (spec.num_classes, spec.crop_size, spec.mean, spec.std, spec.transform_input)
    parts = (weights.sha256, *network, openvino.__version__, _CONVERTER)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
