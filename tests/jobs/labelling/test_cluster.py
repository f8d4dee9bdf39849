import pytest

from jobs.errors import SpecError
from jobs.labelling.cluster import running_ray


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")

    with pytest.raises(SpecError, match=r"no Ray cluster answers at RAY_ADDRESS '127\.0\.0\.1:1'"):
        running_ray(verbose=False).__enter__()
