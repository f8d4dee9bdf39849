"""What is remembered of attempts, on a local disk."""

from dataclasses import replace

import pytest

from jobs.dataset.layout import Layout
from jobs.errors import JobError
from jobs.labelling.attempts import MAX_ATTEMPTS, Attempts
from jobs.storage import Storage


@pytest.fixture
def attempts(tmp_path):
    return Attempts(Layout.of(str(tmp_path / "out")), "a-run")


def marks(attempts):
    return [item.uri for item in Storage().list(attempts.layout.attempts)]


def test_care_is_due_once_an_attempt_did_not_end(attempts):
    assert not attempts.begin_chunk("one")
    assert not attempts.begin_chunk("other")

    assert attempts.begin_chunk("one")


def test_an_attempt_that_ended_leaves_nothing(attempts):
    attempts.begin_chunk("one")
    attempts.end("one")
    attempts.begin_loading("actor")
    attempts.end("actor")

    assert marks(attempts) == []
    assert not attempts.begin_chunk("one")


def test_attempts_have_an_end(attempts):
    for _ in range(MAX_ATTEMPTS):
        attempts.begin_chunk("one")
        attempts.begin_loading("actor")
        attempts.begin_listing()

    with pytest.raises(JobError, match=r"chunk one was begun 10 times .*fewer --actors"):
        attempts.begin_chunk("one")
    with pytest.raises(JobError, match=r"a worker died 10 times as it loaded the model"):
        attempts.begin_loading("actor")
    with pytest.raises(JobError, match=r"the worker that lists the input died 10 times"):
        attempts.begin_listing()


def test_another_run_has_attempts_of_its_own_and_takes_care(attempts):
    for _ in range(MAX_ATTEMPTS):
        attempts.begin_chunk("one")

    again = replace(attempts, run_id="another")

    assert again.begin_chunk("one")
    assert again.begin_chunk("one")


def test_marks_belong_to_what_an_overwrite_deletes(attempts):
    attempts.begin_chunk("one")

    assert attempts.layout.attempts in attempts.layout.everything
