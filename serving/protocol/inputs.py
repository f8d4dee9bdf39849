"""A request's input tensor → pixels, or encoded images."""

import numpy as np
import numpy.typing as npt
from tritonclient.grpc.model_config_pb2 import ModelConfig

from model_repo.inception_v3.spec import Pixels
from serving.errors import BadRequestError
from serving.protocol.tensors import InferRequest, Tensor, quote


def read_pixels(request: InferRequest, config: ModelConfig) -> Pixels:
    """Take the pixels from a request to the model that `config` describes.

    Returns:
        uint8 [B, 3, H, W] RGB, B from 1 to max_batch_size; it may be read-only.

    Raises:
        BadRequestError: the request holds something else.
    """
    tensor = _only_input(request, config, "UINT8", "FP32")
    _check_shape(tensor, config, (-1, *config.input[0].dims))
    pixels = np.asarray(tensor.data)
    return pixels if pixels.dtype == np.uint8 else _round(pixels, _of(tensor, config))


def read_images(request: InferRequest, config: ModelConfig) -> list[bytes]:
    """Take the encoded images from a request to the image variant that `config` describes.

    Returns:
        From 1 to max_batch_size images, not yet decoded.

    Raises:
        BadRequestError: the request holds something else.
    """
    tensor = _only_input(request, config, "BYTES")
    _check_shape(tensor, config, (-1, 1), (-1,))
    return [bytes(element) for element in tensor.data]


def _only_input(request: InferRequest, config: ModelConfig, *datatypes: str) -> Tensor:
    expected = config.input[0].name
    for tensor in request.inputs:
        if tensor.name != expected:
            raise BadRequestError(
                f"unexpected inference input {quote(tensor.name)} for model {config.name!r}; "
                f"it has {expected!r}"
            )
    if len(request.inputs) != 1:
        raise BadRequestError(
            f"expected 1 input but got {len(request.inputs)} inputs for model {config.name!r}; "
            f"send {expected!r} once"
        )
    tensor = request.inputs[0]
    if tensor.datatype not in datatypes:
        raise BadRequestError(
            f"unexpected datatype for {_of(tensor, config)}: expected {' or '.join(datatypes)}, "
            f"got {quote(tensor.datatype)}"
        )
    return tensor


def _check_shape(tensor: Tensor, config: ModelConfig, *shapes: tuple[int, ...]) -> None:
    if not tensor.shape or (-1, *tensor.shape[1:]) not in shapes:
        raise BadRequestError(
            f"unexpected shape for {_of(tensor, config)}: expected {list(shapes[0])}, "
            f"got {list(tensor.shape)}; the batch comes first, -1 stands for its size"
        )
    batch, limit = tensor.shape[0], config.max_batch_size
    if not 1 <= batch <= limit:
        raise BadRequestError(
            f"inference request batch-size must be from 1 to {limit} for model {config.name!r}, "
            f"got {batch}; send more in several requests"
        )


def _round(values: npt.NDArray[np.float32], owner: str) -> Pixels:
    low, high = float(values.min()), float(values.max())  # NaN if any is
    if not (low >= 0 and high <= 255):
        raise BadRequestError(
            f"{owner} has values from {low:g} to {high:g}; expected finite ones from 0 to 255, RGB "
            "before any scaling, which the model does itself"
        )
    rounded = np.rint(values)
    if high <= 1 and not np.array_equal(rounded, values):
        # Scaled to 0..1, all would silently be labelled as black images.
        raise BadRequestError(
            f"{owner} has fractions from {low:g} to {high:g}, so it is scaled to 0..1; expected "
            "values from 0 to 255: multiply by 255"
        )
    return rounded.astype(np.uint8)


def _of(tensor: Tensor, config: ModelConfig) -> str:
    return f"input {tensor.name!r} of model {config.name!r}"
