import numpy as np

from jobs.digests import DigestSet, digest, find, join

TEXTS = [f"s3://bucket/{number}.jpg" for number in range(5000)]


def test_a_digest_is_that_of_its_text_alone():
    assert (digest(TEXTS)[10:20] == digest(TEXTS[10:20])).all()
    assert len(np.unique(digest(TEXTS))) == len(TEXTS)


def test_found_is_what_is_there():
    within = np.sort(digest(TEXTS[:100]))

    places, found = find(digest(TEXTS[50:150]), within)

    assert found.tolist() == [True] * 50 + [False] * 50
    assert (within[places[:50]] == digest(TEXTS[50:100])).all()
    assert not find(digest(TEXTS[:3]), join([]))[1].any()


def test_a_set_knows_what_came_before_across_and_within_batches():
    seen = DigestSet()

    assert seen.first_times(digest(["a", "b", "a"])).tolist() == [True, True, False]
    for start in range(0, 5000, 700):
        assert seen.first_times(digest(TEXTS[start : start + 700])).all()
    assert not seen.first_times(digest([*TEXTS[::7], "b"])).any()
