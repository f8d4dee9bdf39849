"""What is remembered of attempts, on a local disk."""

from dataclasses import replace

import pytest

from jobs.errors import JobError
from jobs.labelling.attempts import (
    MAX_ATTEMPTS,
    begin_chunk,
    begin_listing,
    begin_loading,
    end_chunk,
    end_loading,
)
from jobs.storage import Storage


@pytest.fixture
def plan(photos, tmp_path, plan_job):
    return plan_job(photos, tmp_path / "out")


def marks(plan):
    return [item.uri for item in Storage().list(plan.layout.attempts)]


def test_care_is_due_once_an_attempt_did_not_end(plan):
    assert not begin_chunk("one", plan)
    assert not begin_chunk("other", plan)

    assert begin_chunk("one", plan)


def test_an_attempt_that_ended_leaves_nothing(plan):
    begin_chunk("one", plan)
    end_chunk("one", plan)
    begin_loading("actor", plan)
    end_loading("actor", plan)

    assert marks(plan) == []
    assert not begin_chunk("one", plan)


def test_attempts_have_an_end(plan):
    for _ in range(MAX_ATTEMPTS):
        begin_chunk("one", plan)
        begin_loading("actor", plan)
        begin_listing(plan)

    with pytest.raises(JobError, match=r"chunk one was begun 10 times .*fewer --actors"):
        begin_chunk("one", plan)
    with pytest.raises(JobError, match=r"a worker died 10 times as it loaded the model"):
        begin_loading("actor", plan)
    with pytest.raises(JobError, match=r"the worker that lists the input died 10 times"):
        begin_listing(plan)


def test_another_run_has_attempts_of_its_own_and_takes_care(plan):
    for _ in range(MAX_ATTEMPTS):
        begin_chunk("one", plan)

    again = replace(plan, run_id="another")

    assert begin_chunk("one", again)
    assert begin_chunk("one", again)


def test_marks_belong_to_what_an_overwrite_deletes(plan):
    begin_chunk("one", plan)

    assert plan.layout.attempts in plan.layout.everything
