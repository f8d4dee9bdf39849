import asyncio
from typing import Any
from unittest.mock import Mock

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from model_repo.inception_v3 import RuntimeOptions
from serving.config import ServingConfig
from serving.ledger import Loaded

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword:DeprecationWarning")  # Serve's


def build(**arguments: object) -> Any:
    from serving.models import Models  # noqa: PLC0415

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

    def run_out_of_memory(reference: str, precision: str | None) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(models, "load", run_out_of_memory)

    asyncio.run(models.apply({"a": 0}, {}))

    assert models.loaded == {"a": Loaded(0, "out of memory")}
    assert models.are_as({"a": 0})


def test_model_runs_in_what_other_replicas_run_it_in(monkeypatch):
    models = build(models="a,b")
    asked = {}

    def load(reference: str, precision: str | None) -> Any:
        asked[reference] = precision
        return Mock(config=ModelConfig(name=reference))

    monkeypatch.setattr(models, "load", load)

    asyncio.run(models.apply({"a": 0, "b": 0}, {"a": "bf16"}))

    assert asked == {"a": "bf16", "b": None}
