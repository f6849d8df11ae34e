"""Whatever stands in the rows of the bridge's database, no list and no view answers 500."""

import asyncio
import re
from typing import Any

import pytest

from services.bridge.app import PACKAGES
from services.bridge.approvals.schema import approval, approval_answer, approval_message
from services.bridge.keys.store import api_key
from services.bridge.settings import BridgeSettings
from services.bridge.tracking import stream
from services.bridge.tracking.schema import callback, job, message_total
from services.bridge.updates.schema import response
from services.bridge.webhooks.schema import webhook_attempt, webhook_call, webhook_endpoint
from services.kit.database.connect import Database, open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.outbox import change_feed
from services.outbox.change_feed import Position
from services.outbox.schema import attempt, change, chat, event, feed, message
from services.updates.stored_updates.schema import telegram_update
from tests import odd_rows
from tests.bridge.people import ADA, GRACE, Bridge, People, bridge_of
from tests.servers import Sandbox, until

TABLES = (
    *(event, message, attempt, change, chat, feed),
    *(approval, approval_answer, approval_message, response, telegram_update),
    *(job, callback, message_total, webhook_call, webhook_attempt, webhook_endpoint, api_key),
)
#: Combinations of odd values that a run of the suite tries on each database.
EXAMPLES = 40
MISSING = "http://127.0.0.1:9/hook"


async def filled(bridge: Bridge, people: People, sandbox: Sandbox) -> list[str]:
    """Fills every table; returns the paths that show the rows."""
    refused = {"kind": "answer", "status": 400, "description": "Bad Request: chat not found"}
    flood = {"kind": "answer", "status": 429, "description": "X", "parameters": {"retry_after": 3_600}}
    await sandbox.faults(refused | {"chat_ids": [GRACE]}, flood | {"chat_ids": [-2001]})
    await _post(bridge, "PUT", "/api/v1/callbacks/default", {"url": MISSING})
    made = [
        await bridge.post(chat_id=chat_id, correlation_id="order-1", campaign_id="spring")
        for chat_id in (ADA, GRACE, -2001)
    ]
    for posted, state in zip(made, ("delivered", "dead_letter", "retry_wait"), strict=True):
        await bridge.until_message(posted["message_ids"][0], state)
    decided, asked = await bridge.ask(metadata={"run": 7}), await bridge.ask()
    await people.question(ADA)
    await bridge.decide(decided["id"])
    await people.say(ADA, "a text")
    await people.send_file(ADA, "document", b"a file", "a caption")
    settings = {"name": "Ada", "quiet_hours": {"from": "22:00", "to": "07:00"}}
    await _post(bridge, "PUT", f"/api/v1/chats/{ADA}", settings)
    key = await _post(bridge, "POST", "/api/v1/keys", {"name": "ci", "scopes": ["messages:read"]})
    file = (await bridge.client.post("/api/v1/files", content=b"a file")).raise_for_status().json()["id"]
    replay = await _post(bridge, "POST", "/api/v1/dead-letters/replay", {"type": "nothing"})

    async def written() -> bool:
        calls = await bridge.client.get(f"/api/v1/messages/{made[0]['message_ids'][0]}/callbacks")
        return len(await bridge.responses()) > 1 and bool(calls.json()["items"])

    await until(written)
    ids = [one["message_ids"][0] for one in made]
    return [
        *("messages", "messages?q=hello", "messages?campaign_id=spring", "messages?status=delivered"),
        *("dead-letters", "traces", "traces?active=false", "traces/order-1", "jobs", f"jobs/{replay['id']}"),
        *("approvals", f"approvals/{decided['id']}", f"approvals/{asked['id']}", "responses", "stats"),
        *(f"files/{file}", *(f"responses/{one['id']}/file" for one in await bridge.responses())),
        *("keys", f"keys/{key['id']}", "key", "callbacks", "routes"),
        *("chats", f"chats/{ADA}", "chats/-2001"),
        *(f"messages/{one}" for one in ids),
        *(f"messages/{one}/callbacks" for one in ids[:1]),
        *(f"events/{one['event_id']}" for one in made),
    ]


async def _post(bridge: Bridge, method: str, path: str, body: Any) -> Any:
    answer = await bridge.client.request(method, path, json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


#: They read no row: their answer is not about stored values, or never ends.
NOT_OF_ROWS = {"/api/v1/event-types", "/api/v1/stream", "/api/v1/bots", "/api/v1/templates"}


def unread(bridge: Bridge, paths: list[str]) -> set[str]:
    """The routes of the API that read rows, and that none of the paths reaches."""
    routes = {path for path, methods in bridge.app.openapi()["paths"].items() if "get" in methods}
    wanted = {route for route in routes if route.startswith("/api/v1/")} - NOT_OF_ROWS
    read = [f"/api/v1/{path.partition('?')[0]}" for path in paths]
    return {route for route in wanted if not any(re.fullmatch(_pattern(route), one) for one in read)}


def _pattern(route: str) -> str:
    return re.sub(r"\{\w+\}", "[^/]+", route)


async def streamed(database: Database) -> int:
    """Makes the frames that the stream would send of all changes; returns how many."""
    changes, _ = await database.read("feed", lambda c: change_feed.read(c, after=Position()))
    return len(stream.streamable(changes))


async def failures(bridge: Bridge, paths: list[str]) -> list[str]:
    """The paths whose answer is a 5xx, with its beginning; 404 is right where a row cannot be found."""
    answers = await asyncio.gather(*(bridge.client.get(f"/api/v1/{path}") for path in paths))
    return [
        f"{path}: {answer.text[:80]}"
        for path, answer in zip(paths, answers, strict=True)
        if answer.status_code >= 500
    ]


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
async def test_no_stored_row_makes_a_view_fail(
    settings: BridgeSettings, database_url: str, people: People, sandbox: Sandbox
) -> None:
    async with bridge_of(settings) as bridge:
        paths = await filled(bridge, people, sandbox)
        assert unread(bridge, paths) == set()
        assert await failures(bridge, paths) == []
        telemetry = Telemetry("tests", ServiceSettings(data_dir=settings.data_dir))
        database = await open_database(database_url, telemetry, packages=PACKAGES)
        possible = odd_rows.changes(TABLES, database.dialect)

        async def read() -> list[str]:
            await streamed(database)
            return await failures(bridge, paths)

        try:
            assert await streamed(database) > 0
            tried = await odd_rows.for_each(database, possible, read, examples=EXAMPLES)
        finally:
            await database.close()
        assert tried >= EXAMPLES
