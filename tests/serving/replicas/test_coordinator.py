from collections import Counter

import pytest

from serving.models.state import LOADING, Loaded
from serving.replicas.coordinator import Coordinator


@pytest.fixture
def clock(monkeypatch):
    """The coordinator's: a list with the one time that it is."""
    now = [0.0]
    monkeypatch.setattr("serving.replicas.coordinator.time.monotonic", lambda: now[0])
    return now


def test_counts_of_all_replicas_add_up_whether_they_live_or_not(clock):
    coordinator = Coordinator(["a"])

    coordinator.sync("one", {"a/1": Counter({"inference_count": 2, "last_inference_ms": 5})}, {})
    coordinator.sync("two", {"a/1": Counter({"inference_count": 3, "last_inference_ms": 4})}, {})
    clock[0] = 60
    coordinator.sync("two", {"a/1": Counter({"inference_count": 4, "last_inference_ms": 4})}, {})

    for _ in range(2):  # looking changes nothing
        expected = Counter({"inference_count": 6, "last_inference_ms": 5})
        assert coordinator.totals() == {"a/1": expected}


def test_coordinator_knows_no_counts_before_replicas_had_the_time_to_tell_them(clock):
    coordinator = Coordinator(["a"])

    assert coordinator.totals() is None
    clock[0] = 60
    assert coordinator.totals() == {}


def test_replica_is_told_what_is_wanted():
    coordinator = Coordinator(["a:1", "a:2", "b"])

    assert coordinator.sync("one", {}, {}) == {"a:1": 0, "a:2": 0, "b": 0}
    coordinator.unload("a")
    assert coordinator.sync("one", {}, {}) == {"b": 0}


def test_loading_again_brings_back_the_versions_that_were_configured():
    coordinator = Coordinator(["a:1", "a:2"])
    coordinator.unload("a")

    revisions = coordinator.load("a")

    assert set(revisions) == {"a:1", "a:2"}
    assert coordinator.sync("one", {}, {}) == revisions


def test_load_is_over_when_every_replica_has_tried():
    coordinator = Coordinator([])
    for replica in ("one", "two"):
        coordinator.sync(replica, {}, {})
    revisions = coordinator.load("a")
    (revision,) = revisions.values()

    assert coordinator.errors(revisions) is None
    coordinator.sync("one", {}, {"a": Loaded(revision)})
    assert coordinator.errors(revisions) is None
    coordinator.sync("two", {}, {"a": Loaded(revision, "no such weights")})
    assert coordinator.errors(revisions) == ["no such weights"]


def test_silent_replica_is_not_waited_for(clock):
    coordinator = Coordinator([])
    coordinator.sync("gone", {}, {})
    coordinator.sync("here", {}, {})
    revisions = coordinator.load("a")
    (revision,) = revisions.values()

    clock[0] = 60
    coordinator.sync("here", {}, {"a": Loaded(revision)})

    assert coordinator.errors(revisions) == []


def test_unload_is_over_when_no_replica_has_the_model():
    coordinator = Coordinator(["a", "b"])
    coordinator.sync("one", {}, {"a": Loaded(0), "b": Loaded(0)})

    coordinator.unload("a")
    assert not coordinator.is_unloaded("a")
    coordinator.sync("one", {}, {"b": Loaded(0)})

    assert coordinator.is_unloaded("a")


def test_unload_waits_for_a_replica_that_is_just_loading():
    coordinator = Coordinator(["a"])
    coordinator.sync("one", {}, {"a": LOADING})

    coordinator.unload("a")

    assert not coordinator.is_unloaded("a")


def test_model_that_is_unloaded_meanwhile_is_not_waited_for():
    coordinator = Coordinator(["a"])
    coordinator.sync("one", {}, {"a": Loaded(0)})
    revisions = coordinator.load("a")

    coordinator.unload("a")

    assert coordinator.errors(revisions) == ["it was unloaded meanwhile"]


def test_model_that_is_wanted_again_is_not_waited_for():
    coordinator = Coordinator(["a"])
    coordinator.sync("one", {}, {"a": Loaded(0)})
    coordinator.unload("a")

    coordinator.load("a")

    assert coordinator.is_unloaded("a")


def test_coordinator_that_takes_over_wants_what_replicas_have(clock):
    before = Coordinator(["a"])
    (revision,) = before.load("b").values()
    after = Coordinator(["a"])

    assert after.sync("one", {}, {"a": Loaded(0), "b": Loaded(revision)}) == {"a": 0, "b": revision}
    after.unload("b")
    assert after.sync("one", {}, {"a": Loaded(0), "b": Loaded(revision)}) == {"a": 0}
    clock[0] = 60
    assert after.sync("late", {}, {"b": Loaded(revision)}) == {"a": 0}
    assert after.load("b")["b"] > revision  # or replicas would think that they have it
