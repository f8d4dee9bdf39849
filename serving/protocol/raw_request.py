"""A body that is nothing but the data of the model's one input, as Triton takes it."""

import math

from tritonclient.grpc import model_config_pb2

from serving.errors import BadRequestError
from serving.protocol.raw_data import read_raw
from serving.protocol.tensors import InferRequest, Tensor


def read_raw_request(body: bytes, raw_input: model_config_pb2.ModelInput) -> InferRequest:
    """Read `body` as `raw_input`: one image, or the pixels of as many as fit.

    The answer to such a request is binary.

    Raises:
        BadRequestError: the body is empty, or not a whole number of images' pixels.
    """
    if raw_input.data_type == model_config_pb2.TYPE_STRING:
        if not body:
            raise BadRequestError("the body is empty; expected the bytes of an image")
        tensor = Tensor(raw_input.name, "BYTES", (1, *raw_input.dims), [body])
    else:
        size = math.prod(raw_input.dims)  # pixels are UINT8
        batch, rest = divmod(len(body), size)
        if rest or not batch:
            raise BadRequestError(
                f"the body has {len(body)} bytes; expected {size} for each image of input "
                f"{raw_input.name!r}, UINT8 {list(raw_input.dims)}"
            )
        shape = (batch, *raw_input.dims)
        tensor = read_raw(raw_input.name, "UINT8", shape, memoryview(body))
    return InferRequest(inputs=(tensor,), binary_data_output=True)
