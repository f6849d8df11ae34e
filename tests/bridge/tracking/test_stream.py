"""The stream: complete, in order, resumable, and no client can make it a burden."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import orjson
import pytest

from services.bridge import app as bridge_app
from services.bridge.keys import keyring, store
from services.bridge.tracking.metrics import TrackingMetrics
from services.bridge.tracking.stream import EventStream, Stream, StreamFilter
from services.kit import runner
from services.kit.database.connect import Database, open_database
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import Telemetry
from services.outbox import change_feed
from services.outbox.change_feed import Position
from services.outbox.intake import enqueue
from tests import servers
from tests.bridge.tracking.conftest import ADA, Post
from tests.conftest import BridgeFactory
from tests.databases import on_sqlite
from tests.outbox import making
from tests.servers import KEY, until

GRACE = 1002
Frame = dict[str, Any]


class Follower:
    """One client: what it was sent, as it comes."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.comments = 0
        self.last_id: str | None = None

    async def next(self) -> Frame:
        """The next event; comments are counted."""
        frame: Frame = {}
        async for line in self._lines:
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                frame[name] = value
                if name == "id":
                    self.last_id = value
            elif "event" in frame:
                frame["data"] = orjson.loads(frame["data"])
                return frame
            else:
                frame = {}
        raise EOFError

    async def changes(self, count: int) -> list[Frame]:
        """So many changes."""
        found: list[Frame] = []
        while len(found) < count:
            frame = await self.next()
            if frame["event"] == "change":
                found.append(frame)
        return found


@asynccontextmanager
async def following(
    bridge: httpx.AsyncClient, after: str | None = None, key: str = KEY, **wanted: Any
) -> AsyncIterator[Follower]:
    headers = {"Authorization": f"Bearer {key}"} | ({"Last-Event-ID": after} if after else {})
    async with bridge.stream("GET", "/api/v1/stream", params=wanted, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        follower = Follower(response.aiter_lines())
        assert (await follower.next())["event"] == "ready"
        yield follower


def states(frames: list[Frame]) -> list[str]:
    return [frame["data"]["status"] for frame in frames]


async def test_a_life_is_seen_as_it_happens(bridge: httpx.AsyncClient, post: Post) -> None:
    async with following(bridge) as follower:
        message_id = await post("hello", correlation_id="run-1")
        frames = await follower.changes(3)
    assert states(frames) == ["queued", "sending", "delivered"]
    first = frames[0]["data"]
    assert (first["message_id"], first["title"], first["chat_id"]) == (message_id, "hello", ADA)
    assert (first["correlation_id"], len(first["trace_id"])) == ("run-1", 32)


async def test_a_client_that_comes_back_gets_all_it_missed_and_nothing_twice(
    bridge: httpx.AsyncClient, post: Post
) -> None:
    async with following(bridge) as follower:
        await post("first")
        seen = await follower.changes(2)
        left_at = follower.last_id
    await post("second")
    async with following(bridge, after=left_at) as follower:
        seen += await follower.changes(4)
    for title in ("first", "second"):
        told = [frame["data"]["status"] for frame in seen if frame["data"]["title"] == title]
        assert told == ["queued", "sending", "delivered"]
    ids = [frame["id"] for frame in seen]
    assert len(set(ids)) == 6


@pytest.mark.parametrize(
    "wanted",
    [
        {"status": "delivered", "chat_id": GRACE},
        {"status": "delivered", "correlation_id": "wanted"},
        {"status": "delivered", "type": "task_failed"},
    ],
)
async def test_a_client_sees_what_it_asked_for(
    bridge: httpx.AsyncClient, post: Post, wanted: dict[str, Any]
) -> None:
    async with following(bridge, **wanted) as follower:
        await post("other")
        await post("mine", chat_id=GRACE, correlation_id="wanted", type="task_failed")
        (frame,) = await follower.changes(1)
    assert (frame["data"]["title"], frame["data"]["status"]) == ("mine", "delivered")


@on_sqlite
@pytest.mark.parametrize("query", ["foo=1", "severity=critical", "chat_ids=5", "status=sent", "type=a%00b"])
async def test_a_filter_that_makes_no_sense_is_named(bridge: httpx.AsyncClient, query: str) -> None:
    """It would be missing silently, and the follower would wait for what never comes."""
    answer = await bridge.get(f"/api/v1/stream?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][:2] == ["query", query.partition("=")[0]]


async def test_a_last_event_id_that_is_none_is_refused(bridge: httpx.AsyncClient) -> None:
    answer = await bridge.get("/api/v1/stream", headers={"Last-Event-ID": "yesterday"})
    assert answer.status_code == 422


async def test_a_client_from_before_all_that_is_kept_is_told_of_the_gap(
    bridge: httpx.AsyncClient,
) -> None:
    headers = {"Last-Event-ID": "9999999999.9999.1"}
    async with bridge.stream("GET", "/api/v1/stream", headers=headers) as response:
        follower = Follower(response.aiter_lines())
        assert [(await follower.next())["event"] for _ in range(2)] == ["ready", "gap"]


async def test_another_replicas_changes_are_seen_too(
    bridge: httpx.AsyncClient,
    bridge_settings: BridgeFactory,
    database_url: str,
    request: pytest.FixtureRequest,
) -> None:
    """On SQLite there is one process; its changes are found by looking, as those of others are."""
    if database_url.startswith("sqlite"):
        other = bridge
        async with following(bridge) as follower:
            await other.post("/api/v1/events", json={"type": "custom_event", "title": "t", "chat_id": ADA})
            assert states(await follower.changes(3))[-1] == "delivered"
        return
    settings = bridge_settings(database_url=database_url)
    async with (
        runner.running(bridge_app.create_app, settings) as second,
        servers.http(second.url, key=KEY) as client,
        following(bridge) as follower,
    ):
        await client.post("/api/v1/events", json={"type": "custom_event", "title": "t", "chat_id": ADA})
        assert states(await follower.changes(3)) == ["queued", "sending", "delivered"]


async def test_a_quiet_stream_says_that_it_is_there_and_how_far_it_is(
    bridge_settings: BridgeFactory, database_url: str
) -> None:
    settings = bridge_settings(database_url=database_url, stream_heartbeat_seconds=0.05)
    async with (
        runner.running(bridge_app.create_app, settings) as running,
        servers.http(running.url, key=KEY) as client,
        client.stream("GET", "/api/v1/stream", params={"chat_id": GRACE}) as response,
    ):
        follower = Follower(response.aiter_lines())
        ready = await follower.next()
        waiting = asyncio.create_task(follower.next())
        event = {"type": "custom_event", "title": "not for this one", "chat_id": ADA}
        await client.post("/api/v1/events", json=event)

        async def moved_on() -> bool:
            return follower.comments > 1 and follower.last_id != ready["id"]

        await until(moved_on)
        waiting.cancel()


async def test_streams_end_with_the_service(bridge_settings: BridgeFactory, database_url: str) -> None:
    settings = bridge_settings(database_url=database_url)
    async with (
        servers.http(key=KEY) as client,
        runner.running(bridge_app.create_app, settings) as running,
        client.stream("GET", f"{running.url}/api/v1/stream") as response,
    ):
        follower = Follower(response.aiter_lines())
        await follower.next()
        running.stop.set()
        assert (await follower.next())["event"] == "bye"
        with pytest.raises(EOFError):
            await follower.next()


async def test_head_of_a_stream_ends(bridge: httpx.AsyncClient) -> None:
    answer = await bridge.head("/api/v1/stream")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")

    async def left() -> bool:
        return "cctelegram_stream_clients 0.0" in (await bridge.get("/metrics")).text

    await until(left)


async def ends(follower: Follower) -> str:
    """Reads until the stream ends; returns the detail of its last event."""
    while (frame := await follower.next())["event"] != "bye":
        pass
    with pytest.raises(EOFError):
        await follower.next()
    return str(frame["data"]["detail"])


async def reading_key(bridge: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    made = await bridge.post("/api/v1/keys", json={"name": "reader", "scopes": ["messages:read"], **fields})
    assert made.status_code == 201, made.text
    return dict(made.json())


async def test_a_stream_ends_when_its_key_is_revoked_and_other_streams_go_on(
    bridge: httpx.AsyncClient, post: Post
) -> None:
    key = await reading_key(bridge)
    async with following(bridge) as ours, following(bridge, key=key["secret"]) as theirs:
        await post("seen by both")
        for follower in (ours, theirs):
            await follower.changes(3)
        assert (await bridge.delete(f"/api/v1/keys/{key['id']}")).status_code == 204
        await post("seen by the valid key")
        assert await ends(theirs) == "Your key is no longer valid."
        assert states(await ours.changes(3))[-1] == "delivered"


async def test_a_stream_ends_when_another_process_revokes_its_key(
    bridge: httpx.AsyncClient, database_url: str, telemetry: Telemetry
) -> None:
    """As the command does: it writes to the database, and notifies nobody."""
    key = await reading_key(bridge)
    other = await open_database(database_url, telemetry, packages=[keyring.PACKAGE])
    async with following(bridge, key=key["secret"]) as follower:
        await other.write("key_write", partial(store.revoke, key_id=key["id"], now=making.NOW))
        assert await ends(follower) == "Your key is no longer valid."
    await other.close()


async def test_a_stream_ends_when_its_key_expires(bridge: httpx.AsyncClient) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=3)
    key = await reading_key(bridge, expires_at=moment.isoformat())
    async with following(bridge, key=key["secret"]) as follower:
        assert await ends(follower) == "Your key is no longer valid."
    assert datetime.now(UTC) >= moment


# Without a server: a client that does not read is a frame generator that nobody asks.


@pytest.fixture
async def stream(database: Database, telemetry: Telemetry) -> AsyncIterator[Stream]:
    made = Stream(database, TrackingMetrics(telemetry.registry), heartbeat=30, cached=10)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def submit(database: Database, *titles: str) -> None:
    work = partial(enqueue.insert, submissions=[making.each(titles)], now=making.NOW)
    await database.write("enqueue", work)
    database.notify_local(change_feed.CHANNEL)


async def test_a_slow_client_is_told_and_dropped_and_others_are_not(
    stream: Stream, database: Database, telemetry: Telemetry
) -> None:
    stopping = asyncio.Event()
    slow = await stream.open(StreamFilter(), None, stopping, nullcontext(asyncio.Event()))
    quick = await stream.open(StreamFilter(), None, stopping, nullcontext(asyncio.Event()))
    for client in (slow, quick):
        assert b"event: ready" in await anext(client)
    await submit(database, "first")
    for client in (slow, quick):
        assert b"first" in await anext(client)
    for number in range(5):
        await submit(database, *(f"t{number}.{n}" for n in range(5)))
        got = b""
        while f"t{number}.4".encode() not in got:
            got += await anext(quick)
    assert b"event: slow" in await anext(slow)
    with pytest.raises(StopAsyncIteration):
        await anext(slow)
    assert telemetry.registry.get_sample_value("cctelegram_stream_clients_dropped_total") == 1
    assert telemetry.registry.get_sample_value("cctelegram_stream_clients") == 1
    await quick.aclose()


async def test_a_client_far_behind_reads_the_database_and_is_not_called_slow(
    stream: Stream, database: Database
) -> None:
    await submit(database, *(f"old {n}" for n in range(40)))
    client = await stream.open(StreamFilter(), Position(), asyncio.Event(), nullcontext(asyncio.Event()))
    got = b""
    while b"old 39" not in got:
        got += await anext(client)
    assert b"event: slow" not in got
    assert b"event: gap" not in got
    await submit(database, "new")
    assert b"new" in await anext(client)
    await client.aclose()


async def test_a_client_that_comes_after_all_have_left_starts_at_the_end(
    stream: Stream, database: Database
) -> None:
    for title in ("first", "second"):
        client = await stream.open(StreamFilter(), None, asyncio.Event(), nullcontext(asyncio.Event()))
        await anext(client)
        await submit(database, title)
        got = await anext(client)
        assert title.encode() in got
        assert got.count(b"event: change") == 1
        await client.aclose()


async def test_there_is_room_for_so_many_streams(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = []
    for _ in range(100):
        client = await stream.open(StreamFilter(), None, asyncio.Event(), nullcontext(asyncio.Event()))
        await anext(client)
        clients.append(client)
    with pytest.raises(Problem) as refused:
        await stream.open(StreamFilter(), None, asyncio.Event(), nullcontext(asyncio.Event()))
    assert refused.value.status == 503
    for client in clients:
        await client.aclose()


async def test_a_client_that_takes_nothing_is_let_go() -> None:
    closed, dropped = asyncio.Event(), []

    async def frames() -> Any:
        try:
            while True:
                yield b"x"
        finally:
            closed.set()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    response = EventStream(frames(), lambda: dropped.append(1), stalled=0.01)
    await response({"type": "http"}, receive, send)
    assert closed.is_set()
    assert dropped == [1]


async def test_a_client_that_leaves_ends_its_frames() -> None:
    closed = asyncio.Event()

    async def frames() -> Any:
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def send(_: Any) -> None:
        return

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    await EventStream(frames(), lambda: None)({"type": "http"}, receive, send)
    await asyncio.wait_for(closed.wait(), 5)
