import numpy as np
import pytest

from model_repo.inception_v3.agreement import Agreement, compare
from model_repo.inception_v3.postprocess import softmax

FIRST = np.array([[9, 8, 7, 6, 5, 4, 3], [1, 2, 3, 4, 5, 6, 7], [0, 0, 9, 0, 0, 0, 0]], np.float32)


def test_the_same_logits_agree_in_everything():
    found = compare(FIRST, FIRST.copy())

    assert found == Agreement(images=3, kept=3, shared=3.0, largest_change=0.0)
    assert (found.top1_kept, found.top5_overlap) == (1.0, 1.0)


def test_what_differs_is_counted():
    second = FIRST.copy()
    second[0] = [8, 9, 7, 6, 5, 4, 3]  # another best class, of the same five
    second[1, 0] = 9  # another best class, and one of the five is another

    found = compare(FIRST, second)

    assert (found.images, found.kept) == (3, 1)
    assert found.top5_overlap == pytest.approx((1 + 0.8 + 1) / 3)
    change = np.abs(softmax(FIRST) - softmax(second))
    assert found.largest_change == pytest.approx(change.max())
    assert found.largest_change > 0.1


def test_an_answer_that_is_no_number_keeps_nothing():
    second = FIRST.copy()
    second[2, 2] = np.inf
    second[0, 6] = np.nan

    found = compare(FIRST, second)

    assert (found.kept, found.shared, found.largest_change) == (1, 1.0, 1.0)


def test_fewer_than_five_classes_are_all_compared():
    assert compare(FIRST[:, :2], FIRST[:, 1::-1]).top5_overlap == 1.0


def test_batches_add_up_to_the_whole():
    second = FIRST[:, ::-1]

    parts = [compare(FIRST[i : i + 1], second[i : i + 1]) for i in range(3)]

    assert sum(parts, Agreement()) == compare(FIRST, second)
