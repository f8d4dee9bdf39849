"""Logits → the output tensors that a request asked for."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tritonclient.grpc.model_config_pb2 import ModelConfig

from model_repo.inception_v3.postprocess import postprocess, softmax
from serving.errors import BadRequestError
from serving.protocol.tensors import InferRequest, RequestedOutput, Tensor, quote

OUTPUT_NAME = "classification"


def check_outputs(request: InferRequest, config: ModelConfig) -> None:
    """Check that the model of `config` has the outputs that `request` asks for.

    Raises:
        BadRequestError: it lacks one.
    """
    names = [output.name for output in config.output]
    for requested in request.outputs:
        if requested.name not in names:
            raise BadRequestError(
                f"unexpected inference output {quote(requested.name)} for model {config.name!r}; "
                f"it has {', '.join(map(repr, names))}"
            )


def build_outputs(
    logits: npt.NDArray[np.float32], labels: Sequence[str], request: InferRequest
) -> tuple[Tensor, ...]:
    """Build the outputs that `request` asks for; `check_outputs` has accepted it.

    Args:
        logits: float32 [B, classes].
        labels: class names, one per column.
        request: with the number of classes to name, if any.

    Returns:
        FP32 [B, classes], the softmax scores; or, with the classification extension, BYTES [B, k]
        of `score:index:label`, the best first; k is at most the number of classes.

    Raises:
        InputError: `logits` does not have one column per label.
    """
    requested = request.outputs or (RequestedOutput(OUTPUT_NAME, request.binary_data_output),)
    return tuple(
        _classify(logits, labels, output)
        if output.classification
        else Tensor(output.name, "FP32", logits.shape, softmax(logits))
        for output in requested
    )


def _classify(
    logits: npt.NDArray[np.float32], labels: Sequence[str], output: RequestedOutput
) -> Tensor:
    named = [
        f"{label.score:f}:{label.index}:{label.label}".encode()
        for prediction in postprocess(logits, labels, top_k=output.classification)
        for label in prediction.labels
    ]
    shape = (len(logits), min(output.classification, len(labels)))
    return Tensor(output.name, "BYTES", shape, named)
