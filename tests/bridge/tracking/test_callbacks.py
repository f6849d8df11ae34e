"""Other programs are told how messages ended: signed, once each, whatever is killed."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest
from sqlalchemy import Connection, delete, select, update

from services.bridge import app as bridge_app
from services.bridge.tracking.callbacks import payload
from services.bridge.tracking.callbacks import store as callbacks
from services.bridge.tracking.callbacks.publisher import Publisher
from services.bridge.tracking.callbacks.store import Program as Told
from services.bridge.webhooks.schema import webhook_call
from services.kit import runner
from services.kit.database import leader_lease
from services.kit.database.connect import Database, open_database
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.intake import cancel_replay, enqueue
from services.outbox.intake.cancel_replay import By
from tests import servers
from tests.bridge.tracking.conftest import Post, State, later
from tests.bridge.webhooks.test_results import SECRET, Program, listening
from tests.conftest import BridgeFactory
from tests.databases import on_sqlite
from tests.outbox import making
from tests.servers import KEY, ManualClock, Sandbox, until

MESSAGE = {"type": "custom_event", "title": "hello", "chat_id": 1001}


@pytest.fixture
async def program() -> AsyncIterator[Program]:
    async with listening() as running:
        yield running


@pytest.fixture
async def bridge(bridge_settings: BridgeFactory, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """With a secret that the tests know."""
    settings = bridge_settings(database_url=database_url, webhook_signing_secret=SECRET)
    async with (
        runner.running(bridge_app.create_app, settings) as running,
        servers.http(running.url, key=KEY) as client,
    ):
        yield client


async def test_who_posted_is_told_of_the_delivery(
    bridge: httpx.AsyncClient, post: Post, program: Program
) -> None:
    message_id = await post("hello", callback_url=program.url, correlation_id="run-1")
    await program.until_called(1)
    told = program.verified(0)
    assert told["type"] == "message.delivered"
    data = told["data"]
    assert (data["message_id"], data["status"], data["correlation_id"]) == (message_id, "delivered", "run-1")
    assert (data["title"], data["attempts"], len(data["telegram_message_ids"])) == ("hello", 1, 1)
    headers, _ = program.calls[0]
    assert headers["traceparent"].split("-")[1] == data["trace_id"]


async def test_a_failure_is_told_with_its_reason_and_the_delivery_after_a_replay_too(
    bridge: httpx.AsyncClient, post: Post, in_state: State, sandbox: Sandbox, program: Program
) -> None:
    # Twice: the second try is plain text.
    refused = {"kind": "answer", "status": 400, "description": "Bad Request: nonsense"}
    await sandbox.faults(refused | {"times": 2})
    message_id = await post(callback_url=program.url)
    await program.until_called(1)
    assert program.verified(0)["type"] == "message.failed"
    assert program.verified(0)["data"]["reason"] == "bad_request"
    await bridge.post(f"/api/v1/messages/{message_id}/replay")
    await program.until_called(2)
    assert program.verified(1)["type"] == "message.delivered"
    listed = (await bridge.get(f"/api/v1/messages/{message_id}/callbacks")).json()["items"]
    assert [call["attempts"] for call in listed] == [1, 1]


async def test_an_unknown_outcome_and_a_cancel_are_told(
    bridge: httpx.AsyncClient, post: Post, sandbox: Sandbox, program: Program
) -> None:
    await sandbox.faults({"kind": "close", "deliver": True})
    await post("held", on_unknown="hold", callback_url=program.url)
    await program.until_called(1)
    assert program.verified(0)["type"] == "message.unknown"
    waiting = await post("taken back", deliver_at=later(), callback_url=program.url)
    await bridge.post(f"/api/v1/messages/{waiting}/cancel", json={"reason": "a typo"})
    await program.until_called(2)
    told = program.verified(1)
    assert (told["type"], told["data"]["reason"]) == ("message.cancelled", "cancelled by default: a typo")


async def test_a_message_that_may_have_arrived_is_reported_as_unknown_when_it_is_cancelled(
    bridge_settings: BridgeFactory, database_url: str, sandbox: Sandbox, program: Program
) -> None:
    settings = bridge_settings(
        database_url=database_url, webhook_signing_secret=SECRET, retry_base_seconds=60
    )
    await sandbox.faults({"kind": "close", "deliver": True})
    async with servers.client_of(bridge_app.create_app, settings) as client:
        posted = await client.post("/api/v1/events", json=MESSAGE | {"callback_url": program.url})
        (message_id,) = posted.json()["message_ids"]
        path = f"/api/v1/messages/{message_id}"

        async def waits() -> bool:
            return bool((await client.get(path)).json()["status"] == "retry_wait")

        await until(waits)
        cancelled = await client.post(f"{path}/cancel", json={"reason": "a typo"})
        assert (cancelled.status_code, cancelled.json()) == (
            200,
            {"message_id": message_id, "state": "unknown", "parts_sent": 0, "possible_duplicate": True},
        )
        await program.until_called(1)
        told = program.verified(0)
        assert (told["type"], told["data"]["reason"]) == ("message.unknown", "cancelled by default: a typo")
        assert len(await sandbox.delivered(1001)) == 1
        again = await client.post(f"{path}/cancel")
        assert (again.status_code, again.json()["state"]) == (409, "unknown")
    assert len(program.calls) == 1


async def test_each_recipients_message_is_told_by_itself(bridge: httpx.AsyncClient, program: Program) -> None:
    await bridge.post("/api/v1/events", json=MESSAGE | {"chat_id": [1, 2, 3], "callback_url": program.url})
    await program.until_called(3)
    assert {program.verified(n)["data"]["chat_id"] for n in range(3)} == {1, 2, 3}


@on_sqlite
@pytest.mark.parametrize("url", ["ftp://x/", "http://169.254.169.254/", "http://10.0.0.1/hook", "nonsense"])
@pytest.mark.parametrize("many", [False, True])
async def test_an_address_that_may_not_be_called_is_refused_with_the_event(
    bridge: httpx.AsyncClient, url: str, many: bool
) -> None:
    event: Any = MESSAGE | {"callback_url": url}
    answer = await bridge.post("/api/v1/events", json=[event] if many else event)
    assert answer.status_code == 422
    place = [0, "callback_url"] if many else ["callback_url"]
    assert answer.json()["errors"][0]["loc"] == place


async def test_the_program_of_a_key_is_told_with_a_secret_of_its_own(
    bridge: httpx.AsyncClient, post: Post, program: Program
) -> None:
    made = await bridge.put("/api/v1/callbacks/default", json={"url": program.url})
    assert made.status_code == 200
    await post("hello")
    await program.until_called(1)
    assert program.verified(0, made.json()["secret"])["data"]["title"] == "hello"
    listed = (await bridge.get("/api/v1/callbacks")).json()["items"]
    assert [(item["client"], item["url"]) for item in listed] == [("default", program.url)]
    assert "secret" not in listed[0]
    assert (await bridge.delete("/api/v1/callbacks/default")).status_code == 204
    assert (await bridge.delete("/api/v1/callbacks/default")).status_code == 404
    assert (await bridge.get("/api/v1/callbacks")).json() == {"items": []}


async def test_a_key_cannot_point_to_where_calls_may_not_go(bridge: httpx.AsyncClient) -> None:
    answer = await bridge.put("/api/v1/callbacks/default", json={"url": "http://192.168.0.1/"})
    assert answer.status_code == 422


async def test_the_programs_of_the_settings_the_key_and_the_event_are_each_told_once(
    bridge_settings: BridgeFactory, database_url: str, program: Program
) -> None:
    settings = bridge_settings(
        database_url=database_url, webhook_signing_secret=SECRET, status_webhook_url=program.url
    )
    async with (
        listening() as other,
        runner.running(bridge_app.create_app, settings) as running,
        servers.http(running.url, key=KEY) as client,
    ):
        await client.post("/api/v1/events", json=MESSAGE | {"callback_url": program.url})
        await client.post("/api/v1/events", json=MESSAGE | {"title": "two", "callback_url": other.url})
        await other.until_called(1)
        await program.until_called(2)
        assert len(other.calls) == 1
        assert {program.verified(n)["data"]["title"] for n in range(2)} == {"hello", "two"}


# Without a server: the mark in the feed.


@pytest.fixture
async def store(database_url: str, telemetry: Telemetry) -> AsyncIterator[Database]:
    packages = ["services.outbox", "services.bridge.webhooks", "services.bridge.tracking"]
    opened = await open_database(database_url, telemetry, packages=packages)
    await opened.write("callbacks", callbacks.begin)
    yield opened
    await opened.close()


async def cancelled(store: Database, count: int, url: str | None = "http://127.0.0.1/") -> None:
    """So many messages that have ended."""
    for _ in range(count):
        posted = making.submission(
            making.message(deliver_at=making.NOW + 60), of=making.event(callback_url=url)
        )
        await store.write("enqueue", partial(enqueue.insert, submissions=[posted], now=making.NOW))
        (new,) = posted.messages[0]
        work = partial(cancel_replay.cancel, message_id=new.id, by=By("tests"), now=making.NOW)
        await store.write("cancel", work)


async def calls(store: Database) -> list[str]:
    def read(connection: Connection) -> list[str]:
        return list(connection.execute(select(webhook_call.c.subject)).scalars())

    return await store.read("read", read)


async def publish_all(store: Database, clock: ManualClock, everybody: Told | None = None) -> None:
    publisher = Publisher(store, everybody, clock)
    while await publisher.once():
        pass


async def test_many_replicas_write_each_call_once(store: Database, clock: ManualClock) -> None:
    await cancelled(store, 30)
    await asyncio.gather(*(publish_all(store, clock) for _ in range(4)))
    await publish_all(store, clock)
    subjects = await calls(store)
    assert (len(subjects), len(set(subjects))) == (30, 30)


async def test_what_was_read_and_not_written_is_read_again(store: Database, clock: ManualClock) -> None:
    """A process that is killed between the two leaves the mark where it was."""
    await cancelled(store, 3)
    reading = await store.read("callbacks_find", partial(callbacks.read, everybody=False, now=1.0))
    assert len(reading.changes) == 3
    await publish_all(store, clock)
    late = partial(callbacks.publish, reading=reading, everybody=None, now=clock.now)
    assert await store.write("callbacks", late) is None
    assert len(await calls(store)) == 3


async def test_a_change_that_is_reported_again_after_a_restore_has_the_same_call_id(
    store: Database, clock: ManualClock
) -> None:
    """The restored database does not know of the first call; its receiver does."""
    await cancelled(store, 3)
    await publish_all(store, clock)
    first = await call_ids(store)

    def as_in_the_backup(connection: Connection) -> None:
        connection.execute(delete(webhook_call))
        connection.execute(update(leader_lease.leader_lease).values(position="0.0.0"))

    await store.write("restore", as_in_the_backup)
    clock.advance(3_600)
    await publish_all(store, clock)
    assert len(set(first)) == 3
    assert await call_ids(store) == first
    assert {UUID(one).version for one in first} == {7}


async def call_ids(store: Database) -> list[str]:
    query = select(webhook_call.c.id).order_by(webhook_call.c.subject)
    return list(await store.read("read", lambda connection: connection.execute(query).scalars().all()))


async def test_nobody_is_told_where_nobody_asked_and_the_mark_moves_on(
    store: Database, clock: ManualClock
) -> None:
    await cancelled(store, 2, url=None)
    publisher = Publisher(store, None, clock)
    assert await publisher.once() is False
    reading = await store.read("callbacks_find", partial(callbacks.read, everybody=False, now=1.0))
    assert reading.before == reading.after
    assert await calls(store) == []
    await cancelled(store, 1)
    await publish_all(store, clock)
    assert len(await calls(store)) == 1


async def test_everybody_s_program_is_told_of_every_message(store: Database, clock: ManualClock) -> None:
    await cancelled(store, 2, url=None)
    await publish_all(store, clock, Told("http://127.0.0.1/all"))
    assert len(await calls(store)) == 2


async def test_only_endings_are_told(store: Database, clock: ManualClock) -> None:
    await cancelled(store, 1)
    reading = await store.read("callbacks_find", partial(callbacks.read, everybody=False, now=1.0))
    assert [change.state for change in reading.changes] == ["cancelled"]
    body = orjson.loads(payload.body(reading.changes[0]))
    assert body["type"] == "message.cancelled"
    assert body["timestamp"].endswith("Z")
