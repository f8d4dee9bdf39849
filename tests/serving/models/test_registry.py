import asyncio
from typing import Any
from unittest.mock import Mock

import pytest

from model_repo.inception_v3 import ModelError, RuntimeOptions
from serving.config import ServingConfig
from serving.models.state import Loaded

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword:DeprecationWarning")  # Serve's


def build(**arguments: object) -> Any:
    from serving.models.registry import Models  # noqa: PLC0415

    config = ServingConfig.model_validate(arguments)
    return Models(config, RuntimeOptions(), Mock(), Mock(), Mock())


def test_model_asked_for_in_vain_keeps_no_replica_from_starting():
    models = build(models="a,b")
    models.loaded = {"a": Loaded(0), "b": Loaded(0), "other": Loaded(1, "no weights")}
    assert models.errors() == []

    models.loaded["b"] = Loaded(0, "no labels")
    assert models.errors() == ["no labels"]


def test_whatever_loading_raises_is_the_models_own_trouble(monkeypatch):
    models = build(models="a")

    async def run_out_of_memory(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(models, "load", run_out_of_memory)

    asyncio.run(models.apply({"a": 0}, Mock()))

    assert models.loaded == {"a": Loaded(0, "out of memory")}
    assert models.are_as({"a": 0})


@pytest.mark.parametrize("computes", [True, False])
def test_model_runs_in_what_the_replicas_have_agreed_on(monkeypatch, computes):
    monkeypatch.setattr(
        "model_repo.inception_v3.runtimes.openvino_runtime.computes_bf16", lambda: computes
    )
    models = build(models="inception_v3", weights="untrained")
    used = []

    def load(model: Any, weights: Any, options: RuntimeOptions) -> Any:
        used.append(options.precision)
        raise ModelError("far enough")

    monkeypatch.setattr("serving.models.registry.Classifier.load", load)

    async def agree(*asked: object) -> str:
        assert asked == ("inception_v3", 4, "fp32")
        return "bf16"

    asyncio.run(models.apply({"inception_v3": 4}, agree))

    assert used == ["bf16"] * computes
    assert ("does not compute" in models.loaded["inception_v3"].error) is not computes
