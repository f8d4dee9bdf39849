import numpy as np
import pytest

from model_repo.inception_v3.errors import InputError, ModelError
from model_repo.inception_v3.postprocess import choose_top_k, postprocess, softmax
from model_repo.inception_v3.spec import ModelSpec

LABELS = ("cat", "dog", "owl", "yak")
LOGITS = np.array([[1.0, 3.0, 2.0, 0.0], [0.0, 0.0, 0.0, 5.0]], dtype=np.float32)


def test_softmax_is_the_exponentials_over_their_sum():
    expected = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)

    np.testing.assert_allclose(softmax(LOGITS), expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [1, 1e4, 1e38])
def test_softmax_adds_up_to_one_however_large_the_logits(scale):
    scores = softmax(LOGITS * np.float32(scale / 5))

    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)


def test_postprocess_names_the_best_classes_best_first():
    first, second = postprocess(LOGITS, LABELS, top_k=3)

    assert [label.label for label in first.labels] == ["dog", "owl", "cat"]
    assert [label.index for label in first.labels] == [1, 2, 0]
    assert (second.top.label, second.top.index) == ("yak", 3)


def test_postprocess_scores_are_softmax_over_all_classes():
    (prediction, _) = postprocess(LOGITS, LABELS, top_k=1)

    assert len(prediction.labels) == 1
    assert prediction.top.score == float(softmax(LOGITS)[0, 1])


def test_postprocess_keeps_the_order_of_equal_scores():
    (prediction,) = postprocess(np.zeros((1, 4), np.float32), LABELS, top_k=4)

    assert [label.label for label in prediction.labels] == list(LABELS)


@pytest.mark.parametrize("top_k", [1, 2, 5, 11])
def test_postprocess_ranks_as_sorting_all_would(top_k):
    logits = np.random.default_rng(0).normal(0, 3, (200, 12)).astype(np.float32)
    logits[::2] = np.round(logits[::2])  # with ties, also across the last place
    logits[0], logits[1, 3] = -np.inf, np.inf  # what no good network says still gets its classes

    with np.errstate(invalid="ignore"):
        predictions = postprocess(logits, tuple("abcdefghijkl"), top_k)
        expected = np.argsort(-softmax(logits), axis=1, kind="stable")[:, :top_k]

    assert [[x.index for x in prediction.labels] for prediction in predictions] == expected.tolist()


def test_postprocess_gives_five_classes_unless_told():
    (prediction,) = postprocess(np.zeros((1, 9), np.float32), tuple("abcdefghi"))

    assert len(prediction.labels) == 5


@pytest.mark.parametrize(("asked", "expected"), [(None, 4), (1, 1), (4, 4)])
def test_top_k_is_what_was_asked_for_or_what_there_is(asked, expected):
    assert choose_top_k(asked, ModelSpec(name="m", version="1", labels=LABELS)) == expected


def test_more_labels_than_classes_are_refused():
    with pytest.raises(ModelError, match="5 is more than the 4 classes of model 'm'"):
        choose_top_k(5, ModelSpec(name="m", version="1", labels=LABELS))


def test_postprocess_gives_all_classes_where_top_k_is_more():
    predictions = postprocess(LOGITS, LABELS, top_k=99)

    assert [len(prediction.labels) for prediction in predictions] == [4, 4]


@pytest.mark.parametrize("shape", [(2, 3), (2, 5), (4,), (1, 2, 4)])
def test_postprocess_refuses_logits_that_do_not_fit_the_labels(shape):
    with pytest.raises(InputError, match="do not fit 4 labels"):
        postprocess(np.zeros(shape, np.float32), LABELS)


def test_postprocess_of_no_image_is_no_prediction():
    assert postprocess(np.zeros((0, 4), np.float32), LABELS) == []


def test_postprocess_returns_plain_numbers():
    (prediction, _) = postprocess(LOGITS, LABELS)

    assert type(prediction.top.index) is int
    assert type(prediction.top.score) is float
