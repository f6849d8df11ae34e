"""The OpenAPI document against the running bridge: no answer is a 500, and each is as it says."""

import pytest
from httpx import AsyncClient

from tests import fuzzing
from tests.databases import on_sqlite
from tests.servers import until


@fuzzing.mark
@pytest.mark.timeout(300)
@on_sqlite
async def test_every_answer_is_one_that_the_document_names(bridge: AsyncClient) -> None:
    async def ready() -> bool:
        return (await bridge.get("/health/ready")).status_code == 200

    await until(ready)  # a service that was not measured yet is not ready: 503
    # `make fuzz` tries 500.
    await fuzzing.try_everything(bridge, examples=8)
