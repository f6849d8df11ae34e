"""Sends a running service whatever its OpenAPI document allows, and much that it does not.

Tests that use it carry :data:`mark`: services in this process draw random ids while a case is made,
and hypothesis sees that some were drawn.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok

mark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


async def try_everything(
    client: httpx.AsyncClient,
    *,
    checks: Sequence[Any] = (not_a_server_error,),
    examples: int = 15,
    wanted: Callable[[str], bool] = lambda _path: True,
) -> None:
    """Asks every operation rightly and wrongly.

    Args:
        client: of the service; its headers are sent with each request.
        checks: schemathesis's, of each answer.
        examples: for each operation and way of asking.
        wanted: whether the operations of a path are to be tried.
    """
    document = (await client.get("/openapi.json")).json()
    named = client.headers.get("authorization")
    with requests.Session() as session:
        headers = {"Authorization": named} if named else {}
        asking = _Asking(str(client.base_url), session, headers, checks, examples)
        # The calls block, so they run beside the loop of the service.
        await asyncio.to_thread(asking.all_of, document, wanted)


class _Asking:
    def __init__(
        self,
        url: str,
        session: requests.Session,
        headers: dict[str, str],
        checks: Sequence[Any],
        examples: int,
    ) -> None:
        self._url = url
        self._session = session
        self._headers = headers
        self._checks = checks
        self._settings = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            # What is tried depends on the document alone: a change fails by what it changes.
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )

    def all_of(self, document: dict[str, Any], wanted: Callable[[str], bool]) -> None:
        tried = 0
        # A stream begins with an event of its own, and has no end: no more of it is waited for.
        config = SchemathesisConfig.from_dict({"max-stream-events": 1})
        for found in schemathesis.openapi.from_dict(document, config=config).get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            if wanted(operation.path):
                for mode in schemathesis.GenerationMode:
                    # An operation without parameters cannot be asked wrongly.
                    with suppress(Unsatisfiable):
                        self._settings(given(operation.as_strategy(generation_mode=mode))(self._ask))()
                        tried += 1
        assert tried > 0

    def _ask(self, case: Any) -> None:
        # A poll that waits answers as it should, and late.
        (case.query or {}).pop("wait", None)
        answer = case.call(
            base_url=self._url,
            session=self._session,
            headers=self._headers,
            allow_redirects=False,
            timeout=30,
        )
        case.validate_response(answer, checks=self._checks)
