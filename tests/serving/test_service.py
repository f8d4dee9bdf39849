import asyncio
from typing import Any
from unittest.mock import Mock

import pytest

from serving.config import ServingConfig
from serving.errors import OverloadedError

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword:DeprecationWarning")  # Serve's


@pytest.fixture
def service() -> Any:
    from serving.service import Service  # noqa: PLC0415

    models = Mock(**{"predictors.return_value": [Mock(per_image_s=1.0)]})
    return Service(ServingConfig(), models, Mock(), Mock())


def test_images_for_which_there_is_no_room_are_counted_as_rejected(service):
    served = Mock(**{"predictor.per_image_s": 1.0, "predictor.spec.name": "a"})

    async def run() -> None:
        async with service.admit(1, None) as before, service.admit(1, None) as ticket:
            service.admission.grow(before, 1, 1.0)
            with pytest.raises(OverloadedError):
                await service.label_images(served, [b""] * 9, ticket)

    asyncio.run(run())

    service.metrics.count_images.assert_called_once_with("a", "rejected", 9)
