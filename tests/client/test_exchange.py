"""One call against servers that fail in every way: what is repeated, and what the caller gets."""

import asyncio
import json
import re

import pytest

from services.client import errors
from services.client.errors import (
    ConfigurationError,
    ConflictError,
    InvalidInputError,
    NoAnswerError,
    NotReachedError,
    ProblemError,
    UnreadableAnswerError,
)
from services.client.exchange import LARGEST_ANSWER
from services.contracts.approvals import NewApproval
from services.contracts.events import NewEvent
from tests.client.both import either, http, scripted
from tests.ports import free_port
from tests.servers import KEY

EVENT = NewEvent(type="task_completion", title="Done")
ACCEPTED = (
    '{"event_id":"e","message_ids":["m"],"correlation_id":"c","trace_id":"t","type":"task_completion",'
    '"links":{"event":"/e","trace":null}}'
)
QUESTION = json.dumps(
    dict.fromkeys(("undelivered_at", "trace_id", "closed_at", "decision", "callback_url", "metadata"))
    | dict.fromkeys(("visible_in", "perhaps_visible_in"), 0)
    | {name: name for name in ("bot", "client", "title", "prompt", "source", "correlation_id", "event_id")}
    | {"id": "question-1", "code": "K7Q2", "status": "open", "options": [], "approvers": []}
    | dict.fromkeys(("created_at", "expires_at"), "2026-01-31T08:00:00Z")
    | {"links": {"self": "/q", "message": "/m", "event": "/e", "trace": None}}
)
CANCELLED = '{"message_id":"m","state":"cancelled","parts_sent":0,"possible_duplicate":false}'
LOST = b""
pytestmark = pytest.mark.parametrize("kind", ["Client", "AsyncClient"])


def keys(requests: list[bytes]) -> set[bytes]:
    return {found for request in requests for found in re.findall(rb"Idempotency-Key: (\S+)", request)}


@pytest.mark.parametrize(
    "failure",
    [
        http(503, '{"title":"Store down"}', "Retry-After: 0"),
        http(503, "busy"),
        http(502, "<html>"),
        http(429, "{}", "Retry-After: 0"),
        http(409, '{"title":"In flight"}'),
        LOST,
        http(202, ACCEPTED)[:-10],
    ],
    ids=["503", "503 of a gateway", "502", "429", "in flight", "lost", "cut off"],
)
async def test_an_event_is_posted_again_with_the_same_key(kind: str, failure: bytes) -> None:
    async with (
        scripted(failure, failure, http(202, ACCEPTED)) as server,
        either(kind, server.url, KEY) as cct,
    ):
        assert (await cct.send(EVENT)).event_id == "e"
    assert len(server.requests) == 3
    assert len(keys(server.requests)) == 1
    assert len(set(server.requests)) == 1
    assert f"Authorization: Bearer {KEY}".encode() in server.requests[0]


async def test_what_may_have_happened_is_not_repeated_without_a_key(kind: str) -> None:
    async with scripted(LOST, http(200, CANCELLED)) as server, either(kind, server.url, KEY) as cct:
        with pytest.raises(NoAnswerError, match="No answer from http://127"):
            await cct.cancel("m")
    assert len(server.requests) == 1


async def test_what_did_not_happen_is_repeated_without_a_key_too(kind: str) -> None:
    busy = http(503, "{}", "Retry-After: 0")
    async with scripted(busy, http(200, CANCELLED)) as server, either(kind, server.url, KEY) as cct:
        assert (await cct.cancel("m")).state == "cancelled"
    assert len(server.requests) == 2


async def test_a_server_that_comes_back_is_reached(kind: str) -> None:
    port = free_port()

    async def later() -> asyncio.Server:
        # The first try is refused; the second one may be, too.
        return await asyncio.start_server(_accept, "127.0.0.1", port)

    async with either(kind, f"http://127.0.0.1:{port}", KEY) as cct:
        sending = asyncio.create_task(cct.send(EVENT))
        done, _ = await asyncio.wait({sending}, timeout=0.05)
        assert not done
        async with await later():
            assert (await sending).event_id == "e"


async def _accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(http(202, ACCEPTED))
    await writer.drain()
    writer.close()


async def test_a_question_that_people_may_see_is_not_given_up(kind: str) -> None:
    """The bridge stopped before it answered, and is away for longer than the client waits for others."""
    gone = http(503, "{}", "Retry-After: 0")
    async with (
        scripted(LOST, gone, LOST, http(201, QUESTION)) as server,
        either(kind, server.url, KEY, patience=0) as cct,
    ):
        assert (await cct.ask(NewApproval(title="Deploy?", prompt="2.1"))).id == "question-1"
    assert len(server.requests) == 4
    assert len(keys(server.requests)) == 1
    async with (
        scripted(gone, http(201, QUESTION)) as server,
        either(kind, server.url, KEY, patience=0) as cct,
    ):
        with pytest.raises(ProblemError):
            await cct.ask(NewApproval(title="Deploy?", prompt="2.1"))


async def test_patience_ends_with_the_last_error(kind: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with either(kind, url, KEY, patience=0) as cct:
        with pytest.raises(NotReachedError, match=f"Cannot connect to {url}: "):
            await cct.send(EVENT)


@pytest.mark.parametrize(
    ("status", "error"), [(409, ConflictError), (422, InvalidInputError), (400, ProblemError)]
)
async def test_a_refusal_comes_at_once(kind: str, status: int, error: type[ProblemError]) -> None:
    async with scripted(http(status, '{"title":"No"}')) as server, either(kind, server.url, KEY) as cct:
        with pytest.raises(error):
            await cct.send(EVENT)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body", ["", "<html>a login page</html>", "[]", '{"event_id": 7}', '{"event_id":"e","message_ids":"m"}']
)
async def test_an_answer_of_another_program_is_named(kind: str, body: str) -> None:
    async with scripted(http(200, body)) as server, either(kind, server.url, KEY) as cct:
        with pytest.raises(UnreadableAnswerError, match="POST /api/v1/events: the answer is not what"):
            await cct.send(EVENT)


async def test_a_redirect_is_not_followed_with_the_key(kind: str) -> None:
    moved = http(307, "", "Location: https://elsewhere.example.com/")
    async with scripted(moved) as server, either(kind, server.url, KEY) as cct:
        with pytest.raises(UnreadableAnswerError, match=r"redirect \(307\) to https://elsewhere"):
            await cct.send(EVENT)
    assert len(server.requests) == 1


async def test_an_answer_that_is_too_large_is_not_read(kind: str) -> None:
    endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b" " * (LARGEST_ANSWER + 1)
    async with scripted(endless) as server, either(kind, server.url, KEY) as cct:
        with pytest.raises(UnreadableAnswerError, match="too large"):
            await cct.stats()


async def test_a_service_whose_url_is_not_known_is_named(kind: str) -> None:
    async with either(kind, "https://cct.example.com", KEY) as cct:
        with pytest.raises(ConfigurationError, match="alert_relay is not known: set CCT_ALERT_RELAY_URL"):
            await cct.incidents()


async def test_a_critical_service_still_reports_its_health(kind: str) -> None:
    report = '{"status":"critical","timestamp":"2026-01-31T08:00:00Z"}'
    async with scripted(http(503, report)) as server, either(kind, server.url, KEY) as cct:
        assert (await cct.health()).status == "critical"


async def test_a_gateway_without_a_bridge_is_no_health_report(kind: str) -> None:
    async with scripted(http(503, "<html>")) as server, either(kind, server.url, KEY, patience=0) as cct:
        with pytest.raises(errors.UnavailableError):
            await cct.health()
