import asyncio
import shutil
from typing import Any
from unittest.mock import Mock

import pytest

from model_repo.inception_v3 import ModelError, RuntimeOptions
from model_repo.inception_v3.repository.config import BUILTIN_REPOSITORY
from serving.config import ServingConfig
from serving.models.state import Loaded

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword:DeprecationWarning")  # Serve's


def build(**arguments: object) -> Any:
    from serving.models.registry import Models  # noqa: PLC0415

    config = ServingConfig.model_validate(arguments)
    options = RuntimeOptions(device="cpu", precision=config.precision or "auto")
    return Models(config, options, Mock(), Mock(), Mock())


def test_model_asked_for_in_vain_keeps_no_replica_from_starting():
    models = build(models="a,b")
    models.loaded = {"a": Loaded(0), "b": Loaded(0), "other": Loaded(1, "no weights")}
    assert models.errors() == []

    models.loaded["b"] = Loaded(0, "no labels")
    assert models.errors() == ["no labels"]


def test_whatever_loading_raises_is_the_models_own_trouble(monkeypatch):
    models = build(models="a")

    def run_out_of_memory(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(models, "load", run_out_of_memory)

    asyncio.run(models.apply({"a": 0}))

    assert models.loaded == {"a": Loaded(0, "out of memory")}
    assert models.are_as({"a": 0})


@pytest.mark.parametrize(
    ("asked", "configured", "used"),
    [(None, "bf16", "bf16"), ("fp32", "bf16", "fp32"), (None, None, "fp32")],
)
def test_model_runs_in_the_precision_that_is_asked_for_or_else_configured(
    monkeypatch, tmp_path, asked, configured, used
):
    folder = shutil.copytree(BUILTIN_REPOSITORY / "inception_v3", tmp_path / "inception_v3")
    if configured:
        line = f'parameters {{ key: "precision" value {{ string_value: "{configured}" }} }}'
        config = folder / "config.pbtxt"
        config.write_text(config.read_text() + line)
    models = build(model_repository=str(tmp_path), weights="untrained", precision=asked)
    found = []

    def load(model: Any, weights: Any, options: RuntimeOptions) -> Any:
        found.append(options.resolve(model.precision).precision)
        raise ModelError("far enough")

    monkeypatch.setattr("serving.models.registry.Classifier.load", load)

    asyncio.run(models.apply({"inception_v3": 4}))

    assert found == [used]
    assert models.loaded == {"inception_v3": Loaded(4, "far enough")}
