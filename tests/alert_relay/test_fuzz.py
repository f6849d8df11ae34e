"""Whatever the OpenAPI document allows, and much that it does not, is never a 500."""

import asyncio
from contextlib import suppress
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.core.result import Ok


# The library draws from `random` itself.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
async def test_nothing_that_can_be_sent_is_the_relays_own_failure(relay: httpx.AsyncClient) -> None:
    document = (await relay.get("/openapi.json")).json()
    headers = dict(relay.headers)
    await asyncio.to_thread(_try_everything, document, str(relay.base_url), headers)


def _try_everything(document: dict[str, Any], url: str, headers: dict[str, str]) -> None:
    schema = schemathesis.openapi.from_dict(document)
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        for mode in schemathesis.GenerationMode:
            # An operation without parameters cannot be asked wrongly.
            with suppress(Unsatisfiable):
                _try(operation.as_strategy(generation_mode=mode), url, headers)


def _try(strategy: Any, url: str, headers: dict[str, str]) -> None:
    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def check(case: Any) -> None:
        answer = case.call(base_url=url, headers={"Authorization": headers["authorization"]})
        assert answer.status_code < 500, (case.method, case.path, answer.text)

    check()
