from serving.telemetry.statistics import Statistics, add_up, to_protocol


def recorded() -> Statistics:
    statistics = Statistics()
    took = {"success": 0.5, "queue": 0.1, "compute_input": 0.05, "compute_infer": 0.3}
    statistics.record_success("a", "1", 3, took, now_s=100.0)
    statistics.record_execution("a", "1", 3, 0.3)
    statistics.record_failure("a", "1", 0.01)
    return statistics


def test_protocol_has_counts_and_nanoseconds():
    (stats,) = to_protocol(recorded().totals, [("a", "1")])["model_stats"]

    assert (stats["inference_count"], stats["execution_count"]) == (3, 1)
    assert stats["last_inference"] == 100_000
    assert stats["inference_stats"]["success"] == {"count": 1, "ns": 500_000_000}
    assert stats["inference_stats"]["fail"] == {"count": 1, "ns": 10_000_000}
    assert stats["batch_stats"] == [
        {"batch_size": 3, "compute_infer": {"count": 1, "ns": 300_000_000}}
    ]


def test_totals_add_up_and_the_last_moment_is_the_latest():
    totals, more = recorded().totals, recorded().totals
    more["a/1"]["last_inference_ms"] = 50

    (stats,) = to_protocol(add_up([totals, more]), [("a", "1")])["model_stats"]
    assert (stats["inference_count"], stats["last_inference"]) == (6, 100_000)


def test_model_that_nobody_asked_has_zeros():
    (stats,) = to_protocol({}, [("b", "7")])["model_stats"]

    assert (stats["name"], stats["version"], stats["inference_count"]) == ("b", "7", 0)
    assert stats["batch_stats"] == []
