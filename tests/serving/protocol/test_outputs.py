import numpy as np
import pytest

from model_repo.inception_v3 import InputError
from model_repo.inception_v3.postprocess import postprocess, softmax
from serving.errors import BadRequestError
from serving.protocol.outputs import build_outputs, check_outputs
from serving.protocol.tensors import InferRequest, RequestedOutput

LABELS = ("cat", "dog", "caf\u00e9: owl", "yak")
LOGITS = np.array([[1.0, 3.0, 2.0, 0.0], [0.0, 0.0, 0.0, 5.0]], np.float32)


def asking(count: int, name: str = "classification") -> InferRequest:
    return InferRequest(outputs=(RequestedOutput(name, True, count),))


@pytest.mark.parametrize("request_", [InferRequest(), asking(0)])
def test_scores_are_the_softmax_of_all_classes(request_):
    (tensor,) = build_outputs(LOGITS, LABELS, request_)

    assert (tensor.name, tensor.datatype, tensor.shape) == ("classification", "FP32", (2, 4))
    assert tensor.data.dtype == np.float32
    np.testing.assert_array_equal(tensor.data, softmax(LOGITS))


def test_classification_names_the_best_classes_best_first():
    (tensor,) = build_outputs(LOGITS, LABELS, asking(2))

    assert (tensor.name, tensor.datatype, tensor.shape) == ("classification", "BYTES", (2, 2))
    assert [element.decode() for element in tensor.data] == [
        f"{label.score:f}:{label.index}:{label.label}"
        for prediction in postprocess(LOGITS, LABELS, top_k=2)
        for label in prediction.labels
    ]
    assert tensor.data[0].startswith(b"0.643914:1:dog")


def test_equal_scores_keep_the_order_of_the_classes():
    (tensor,) = build_outputs(np.zeros((1, 4), np.float32), LABELS, asking(4))

    assert [element.decode() for element in tensor.data] == [
        f"0.250000:{index}:{label}" for index, label in enumerate(LABELS)
    ]


@pytest.mark.parametrize("count", [4, 5, 2**63 - 1])
def test_classification_of_more_than_there_are_is_all(count):
    (tensor,) = build_outputs(LOGITS, LABELS, asking(count))

    assert tensor.shape == (2, 4)
    assert len(tensor.data) == 8


def test_logits_that_do_not_fit_the_labels_are_refused():
    with pytest.raises(InputError):
        build_outputs(LOGITS[:, :3], LABELS, asking(1))


def test_output_that_the_model_has_not_is_refused(config):
    check_outputs(InferRequest(), config)
    check_outputs(asking(3), config)

    with pytest.raises(BadRequestError, match="output 'nope' for model 'inception_v3'; it has 'c"):
        check_outputs(asking(3, "nope"), config)
