from collections import Counter

from serving.ledger import Ledger, Loaded


def test_counts_of_all_replicas_add_up():
    ledger = Ledger(["a"])

    ledger.sync("one", {"a/1": Counter({"inference_count": 2, "last_inference_ms": 5})}, {})
    ledger.sync("two", {"a/1": Counter({"inference_count": 3, "last_inference_ms": 4})}, {})
    ledger.sync("one", {"a/1": Counter({"inference_count": 1})}, {})

    assert ledger.totals()["a/1"] == Counter({"inference_count": 6, "last_inference_ms": 5})


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


def test_silent_replica_is_not_waited_for(monkeypatch):
    now = 0.0
    monkeypatch.setattr("serving.ledger.time.monotonic", lambda: now)
    ledger = Ledger([])
    ledger.sync("gone", {}, {})
    ledger.sync("here", {}, {})
    revisions = ledger.load("a")
    (revision,) = revisions.values()

    now = 60
    ledger.sync("here", {}, {"a": Loaded(revision)})

    assert ledger.errors(revisions) == []


def test_unload_is_over_when_no_replica_has_the_model():
    ledger = Ledger(["a", "b"])
    ledger.sync("one", {}, {"a": Loaded(0), "b": Loaded(0)})

    ledger.unload("a")
    assert not ledger.is_unloaded("a")
    ledger.sync("one", {}, {"b": Loaded(0)})

    assert ledger.is_unloaded("a")
