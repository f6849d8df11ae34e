"""The OpenAPI document against the running bridge: no answer is a 500, and each is as it says."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from httpx import AsyncClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
)
from schemathesis.core.result import Ok

from tests.servers import KEY


# The library draws from `random` itself.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@pytest.mark.timeout(300)
async def test_every_answer_is_one_that_the_document_names(bridge: AsyncClient) -> None:
    document = (await bridge.get("/openapi.json")).json()
    await asyncio.to_thread(_try_everything, document, str(bridge.base_url))


def _try_everything(document: dict[str, Any], url: str) -> None:
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        for mode in schemathesis.GenerationMode:
            # An operation without parameters cannot be asked wrongly.
            with suppress(Unsatisfiable):
                _try(operation.as_strategy(generation_mode=mode), url)


def _try(strategy: Any, url: str) -> None:
    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def check(case: Any) -> None:
        # A poll that waits answers as it should, and late.
        (case.query or {}).pop("wait", None)
        headers = {"Authorization": f"Bearer {KEY}"}
        case.call_and_validate(
            base_url=url,
            headers=headers,
            checks=[
                not_a_server_error,
                content_type_conformance,
                response_schema_conformance,
            ],
            timeout=30,
        )

    check()
