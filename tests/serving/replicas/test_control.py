"""One replica's side of loading and unloading, beside a coordinator that is here."""

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from serving.config import ServingConfig
from serving.errors import NotFoundError
from serving.replicas.coordinator import Coordinator

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword:DeprecationWarning")  # Serve's


@pytest.fixture
def control(tmp_path: Path) -> Any:
    from serving.replicas.control import Control  # noqa: PLC0415

    for name in ("cats", "big_image"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").touch()
    coordinator = Coordinator([])

    async def ask(method: str, *arguments: Any) -> Any:
        return getattr(coordinator, method)(*arguments)

    service = Mock(config=ServingConfig(model_repository=str(tmp_path)))
    return Control(service, ask, "one"), coordinator


@pytest.mark.parametrize(
    ("asked", "loaded"), [("cats", "cats"), ("cats_image", "cats"), ("big_image", "big_image")]
)
def test_model_and_its_image_variant_are_loaded_together(control, asked, loaded):
    control, coordinator = control

    asyncio.run(control.load(asked))

    assert set(coordinator.sync("one", {}, {})) == {loaded}


def test_model_that_the_repository_has_not_is_not_found(control):
    with pytest.raises(NotFoundError, match="'dogs'"):
        asyncio.run(control[0].load("dogs_image"))
