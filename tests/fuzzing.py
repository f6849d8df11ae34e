"""Fuzzes a running service: valid and invalid requests of its OpenAPI document. tests/fuzz does it at length.

Tests that use it need :data:`mark`: services in this process use random ids while a case is generated, and
hypothesis warns of that.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok

#: What each answer must be.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
mark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


async def try_everything(
    client: httpx.AsyncClient,
    *,
    examples: int = 15,
    wanted: Callable[[str], bool] = lambda _path: True,
) -> None:
    """Sends valid and invalid requests to every operation.

    Args:
        client: of the service; its headers are sent with each request.
        examples: requests for each operation and mode.
        wanted: whether to try the operations of a path.
    """
    document = (await client.get("/openapi.json")).json()
    authorization = client.headers.get("authorization")
    with requests.Session() as session:
        headers = {"Authorization": authorization} if authorization else {}
        fuzzer = _Fuzzer(str(client.base_url), session, headers, examples)
        # The calls block, so they run in a thread beside the service's event loop.
        await asyncio.to_thread(fuzzer.all_of, document, wanted)


class _Fuzzer:
    def __init__(
        self,
        url: str,
        session: requests.Session,
        headers: dict[str, str],
        examples: int,
    ) -> None:
        self._url = url
        self._session = session
        self._headers = headers
        self._settings = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            # The requests depend only on the document, so a failure is caused by the change.
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )

    def all_of(self, document: dict[str, Any], wanted: Callable[[str], bool]) -> None:
        tried = 0
        # A stream has no end: only its first event is awaited.
        config = SchemathesisConfig.from_dict({"max-stream-events": 1})
        for found in schemathesis.openapi.from_dict(document, config=config).get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            if wanted(operation.path):
                for mode in schemathesis.GenerationMode:
                    # An operation without parameters has no invalid requests.
                    with suppress(Unsatisfiable):
                        self._settings(given(operation.as_strategy(generation_mode=mode))(self._send))()
                        tried += 1
        assert tried > 0

    def _send(self, case: Any) -> None:
        # Long polls would delay the test.
        (case.query or {}).pop("wait", None)
        answer = case.call(
            base_url=self._url,
            session=self._session,
            headers=self._headers,
            allow_redirects=False,
            timeout=30,
        )
        case.validate_response(answer, checks=CHECKS)
