"""Whatever the OpenAPI document allows, and much that it does not, is never a 500."""

import httpx

from tests import fuzzing


@fuzzing.mark
async def test_nothing_that_can_be_sent_is_the_relays_own_failure(relay: httpx.AsyncClient) -> None:
    await fuzzing.try_everything(relay)
