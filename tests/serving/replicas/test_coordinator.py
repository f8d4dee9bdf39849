from collections import Counter

import pytest

from serving.replicas.coordinator import LOADING, Ledger, Loaded


@pytest.fixture
def clock(monkeypatch):
    """The ledger's: a list with the one time that it is."""
    now = [0.0]
    monkeypatch.setattr("serving.replicas.coordinator.time.monotonic", lambda: now[0])
    return now


def test_counts_of_all_replicas_add_up_whether_they_live_or_not(clock):
    ledger = Ledger(["a"])

    ledger.sync("one", {"a/1": Counter({"inference_count": 2, "last_inference_ms": 5})}, {})
    ledger.sync("two", {"a/1": Counter({"inference_count": 3, "last_inference_ms": 4})}, {})
    clock[0] = 60
    ledger.sync("two", {"a/1": Counter({"inference_count": 4, "last_inference_ms": 4})}, {})

    for _ in range(2):  # looking changes nothing
        assert ledger.totals()["a/1"] == Counter({"inference_count": 6, "last_inference_ms": 5})


def test_ledger_knows_no_counts_before_replicas_had_the_time_to_tell_them(clock):
    ledger = Ledger(["a"])

    assert ledger.totals() is None
    clock[0] = 60
    assert ledger.totals() == {}


def test_replica_is_told_what_is_wanted():
    ledger = Ledger(["a:1", "a:2", "b"])

    assert ledger.sync("one", {}, {}) == {"a:1": 0, "a:2": 0, "b": 0}
    ledger.unload("a")
    assert ledger.sync("one", {}, {}) == {"b": 0}


def test_loading_again_brings_back_the_versions_that_were_configured():
    ledger = Ledger(["a:1", "a:2"])
    ledger.unload("a")

    revisions = ledger.load("a")

    assert set(revisions) == {"a:1", "a:2"}
    assert ledger.sync("one", {}, {}) == revisions


def test_load_is_over_when_every_replica_has_tried():
    ledger = Ledger([])
    for replica in ("one", "two"):
        ledger.sync(replica, {}, {})
    revisions = ledger.load("a")
    (revision,) = revisions.values()

    assert ledger.errors(revisions) is None
    ledger.sync("one", {}, {"a": Loaded(revision)})
    assert ledger.errors(revisions) is None
    ledger.sync("two", {}, {"a": Loaded(revision, "no such weights")})
    assert ledger.errors(revisions) == ["no such weights"]


def test_silent_replica_is_not_waited_for(clock):
    ledger = Ledger([])
    ledger.sync("gone", {}, {})
    ledger.sync("here", {}, {})
    revisions = ledger.load("a")
    (revision,) = revisions.values()

    clock[0] = 60
    ledger.sync("here", {}, {"a": Loaded(revision)})

    assert ledger.errors(revisions) == []


def test_unload_is_over_when_no_replica_has_the_model():
    ledger = Ledger(["a", "b"])
    ledger.sync("one", {}, {"a": Loaded(0), "b": Loaded(0)})

    ledger.unload("a")
    assert not ledger.is_unloaded("a")
    ledger.sync("one", {}, {"b": Loaded(0)})

    assert ledger.is_unloaded("a")


def test_unload_waits_for_a_replica_that_is_just_loading():
    ledger = Ledger(["a"])
    ledger.sync("one", {}, {"a": LOADING})

    ledger.unload("a")

    assert not ledger.is_unloaded("a")


def test_model_that_is_unloaded_meanwhile_is_not_waited_for():
    ledger = Ledger(["a"])
    ledger.sync("one", {}, {"a": Loaded(0)})
    revisions = ledger.load("a")

    ledger.unload("a")

    assert ledger.errors(revisions) == ["it was unloaded meanwhile"]


def test_model_that_is_wanted_again_is_not_waited_for():
    ledger = Ledger(["a"])
    ledger.sync("one", {}, {"a": Loaded(0)})
    ledger.unload("a")

    ledger.load("a")

    assert ledger.is_unloaded("a")


def test_ledger_that_takes_over_wants_what_replicas_have(clock):
    before = Ledger(["a"])
    (revision,) = before.load("b").values()
    after = Ledger(["a"])

    assert after.sync("one", {}, {"a": Loaded(0), "b": Loaded(revision)}) == {"a": 0, "b": revision}
    after.unload("b")
    assert after.sync("one", {}, {"a": Loaded(0), "b": Loaded(revision)}) == {"a": 0}
    clock[0] = 60
    assert after.sync("late", {}, {"b": Loaded(revision)}) == {"a": 0}
    assert after.load("b")["b"] > revision  # or replicas would think that they have it


def test_all_replicas_take_the_precision_that_the_first_has_chosen():
    ledger = Ledger(["a"])

    assert ledger.agree("a", 0, "fp32") == "fp32"
    assert ledger.agree("a", 0, "bf16") == "fp32"
    (revision,) = ledger.load("a").values()
    assert ledger.agree("a", revision, "bf16") == "bf16"  # loaded anew, it is chosen anew
    assert ledger.agree("a", 0, "fp32") == "bf16"


def test_another_ledger_hears_what_was_agreed_with_the_one_before():
    ledger = Ledger(["a"])

    ledger.sync("one", {}, {"a": Loaded(7, precision="fp32"), "b": Loaded(3, "no weights")})

    assert ledger.agree("a", 0, "bf16") == "fp32"
    assert ledger.agree("b", 3, "bf16") == "bf16"
