"""Limits of connections: half requests, slow clients, too many clients; and a good client meanwhile."""

import asyncio
import json
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from services.kit import runner
from services.kit.web.connections import Cause, Connections, Wait, most_connections
from services.kit.web.protocols import MAX_HEAD_BYTES
from tests.kit.apps import LIMIT, Live, live
from tests.servers import until

HALF_HEAD = b"GET /things/1 HTTP/1.1\r\nHost: test\r\n"
HALF_BODY = b"POST /fast HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf"
WHOLE = b"GET /things/1 HTTP/1.1\r\nHost: test\r\n\r\n"


class Client:
    """A TCP client that sends what the test says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Reads a response whose connection is closed: status, header fields, body."""
        head, _, body = (await self.reader.read()).partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines)
        return int(first.split()[1]), fields, body

    async def closed(self) -> bytes:
        """Reads until the connection is closed, also by a reset; returns what was received."""
        received = b""
        try:
            while more := await self.reader.read(65_536):
                received += more
        except ConnectionError:
            pass
        return received


@asynccontextmanager
async def connected(service: Live, sent: bytes = b"") -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(*service.running.listener.getsockname()[:2])
    client = Client(reader, writer)
    try:
        await client.send(sent)
        yield client
    finally:
        writer.close()


@asynccontextmanager
async def crowd(service: Live, count: int, sent: bytes) -> AsyncIterator[list[Client]]:
    """Many clients that all send the same and no more."""
    made = [await asyncio.open_connection(*service.running.listener.getsockname()[:2]) for _ in range(count)]
    clients = [Client(*pair) for pair in made]
    try:
        for client in clients:
            client.writer.write(sent)
        yield clients
    finally:
        for client in clients:
            client.writer.transport.abort()


async def closed_by(service: Live, cause: str) -> float:
    return await service.value("http_connections_closed_total", cause=cause) or 0.0


async def open_connections(service: Live) -> int:
    return int(service.running.app.state.connections())


# The size of a head


@pytest.mark.parametrize("piece", [1_000, 10 * MAX_HEAD_BYTES], ids=["in pieces", "at once"])
async def test_a_head_over_the_limit_is_refused(tmp_path: Path, piece: int) -> None:
    head = WHOLE[:-2] + b"X-Long: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n"
    async with live(tmp_path) as service, connected(service) as client:
        for start in range(0, len(head), piece):
            client.writer.write(head[start : start + piece])
        status, fields, body = await client.answer()
        assert (status, fields["content-type"], fields["connection"]) == (
            431,
            "application/problem+json",
            "close",
        )
        assert json.loads(body)["title"] == "Request Header Fields Too Large"
        assert await closed_by(service, "head_too_large") == 1


async def test_a_head_without_an_end_costs_no_more_than_the_limit(tmp_path: Path) -> None:
    async with live(tmp_path) as service, connected(service, HALF_HEAD + b"X-Long: ") as client:
        sent = 0
        try:
            while sent < 8 << 20:
                await client.send(b"x" * 4096)
                sent += 4096
        except ConnectionError:
            pass
        assert sent < 8 << 20
        assert await closed_by(service, "head_too_large") == 1


async def test_a_head_below_the_limit_is_taken(service: Live) -> None:
    answer = await service.http.get("/things/1", headers={"X-Long": "x" * (MAX_HEAD_BYTES - 1000)})
    assert answer.status_code == 200


async def test_a_large_body_is_not_counted_as_head(tmp_path: Path) -> None:
    async with live(tmp_path, max_body_bytes=1 << 20) as service:
        for _ in range(2):  # on one connection
            answer = await service.http.post("/fast", content=b"x" * (1 << 20))
            assert answer.text == str(1 << 20)


# The time of a request


@pytest.mark.parametrize("half", [HALF_HEAD, HALF_BODY], ids=["head", "body"])
async def test_half_a_request_is_refused_after_its_time(tmp_path: Path, half: bytes) -> None:
    limits: dict[str, Any] = {"request_head_seconds": 0.1, "request_body_seconds": 0.1}
    async with live(tmp_path, **limits) as service, connected(service, half) as client:
        status, fields, body = await client.answer()
        assert (status, fields["content-type"]) == (408, "application/problem+json")
        assert json.loads(body)["status"] == 408
        assert await closed_by(service, "timeout") == 1


async def test_a_request_that_comes_byte_by_byte_gets_no_more_time(tmp_path: Path) -> None:
    async with live(tmp_path, request_body_seconds=0.3) as service, connected(service, HALF_BODY) as client:

        async def refused() -> bool:
            client.writer.write(b"x")
            return await closed_by(service, "timeout") == 1

        await until(refused)
        await client.closed()


async def test_a_body_that_stays_incomplete_after_its_answer_ends_the_connection(tmp_path: Path) -> None:
    """A route that reads no body answers at once; the connection must not wait for the body for ever."""
    half = b"POST /nothing HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf"
    async with live(tmp_path, request_body_seconds=0.1) as service, connected(service, half) as client:
        assert b" 404 " in await client.closed()


async def test_a_client_that_sends_nothing_is_closed_without_an_answer(tmp_path: Path) -> None:
    async with live(tmp_path, request_head_seconds=0.1) as service, connected(service) as client:
        assert await client.closed() == b""


async def test_line_ends_between_requests_do_not_keep_a_connection_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uvicorn stops its own timer at any byte."""
    monkeypatch.setattr(runner, "KEEP_ALIVE_SECONDS", 1)
    async with live(tmp_path) as service, connected(service, WHOLE + b"\r\n") as client:
        assert (await client.closed()).startswith(b"HTTP/1.1 200")


async def test_a_slow_answer_is_waited_for(tmp_path: Path) -> None:
    slow = b"GET /slow HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    limits: dict[str, Any] = {"request_head_seconds": 0.1, "request_body_seconds": 0.1}
    async with live(tmp_path, **limits) as service, connected(service, slow) as client:
        await service.parts.entered.wait()
        async with connected(service, HALF_HEAD) as other:  # meanwhile the limit passes
            await other.answer()
        service.parts.let_go.set()
        assert (await client.answer())[0] == 200


async def test_an_answer_that_is_not_read_ends_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "UNREAD_SECONDS", 0.1)
    monkeypatch.setattr(runner, "CLOSING_SECONDS", 0.1)
    async with live(tmp_path) as service:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(service.running.listener.getsockname())
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n" * 5_000)

        async def gone() -> bool:
            return await closed_by(service, "timeout") >= 1 and await open_connections(service) == 1

        await until(gone)
        client.close()


# Too many connections


@pytest.mark.parametrize("half", [HALF_HEAD, HALF_BODY, b"", WHOLE], ids=["head", "body", "nothing", "idle"])
async def test_a_crowd_of_waiting_clients_keeps_no_other_out(tmp_path: Path, half: bytes) -> None:
    async with live(tmp_path, max_connections=20) as service, crowd(service, 100, half):
        for number in range(5):
            async with connected(service, WHOLE[:-2] + b"Connection: close\r\n\r\n") as good:
                status, _, body = await good.answer()
                assert (status, json.loads(body)["id"]) == (200, 1), number
        assert await open_connections(service) <= 20
        assert await closed_by(service, "too_many") >= 80


async def test_a_crowd_ends_no_request_that_is_being_answered_and_no_idle_connection(tmp_path: Path) -> None:
    async with live(tmp_path, max_connections=20) as service:
        assert (await service.http.get("/things/1")).status_code == 200
        async with connected(service, b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n") as slow:
            await service.parts.entered.wait()
            async with crowd(service, 100, HALF_HEAD):
                assert (await service.http.get("/things/1")).status_code == 200

                async def crowded() -> bool:
                    return await closed_by(service, "too_many") >= 80

                await until(crowded)
                service.parts.let_go.set()
                assert (await slow.reader.readline()) == b"HTTP/1.1 200 OK\r\n"


async def test_a_closed_half_request_is_told_to_try_again(tmp_path: Path) -> None:
    async with live(tmp_path, max_connections=3) as service, connected(service, HALF_HEAD) as first:
        assert (await service.http.get("/things/1")).status_code == 200  # the half request is received, too
        async with crowd(service, 10, HALF_HEAD):
            status, fields, body = await first.answer()
        assert (status, fields["retry-after"]) == (503, "1")
        assert json.loads(body)["detail"] == "There are too many connections."


async def test_while_all_places_are_busy_a_client_waits_and_is_served_later(tmp_path: Path) -> None:
    slow = b"GET /slow HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    async with live(tmp_path, max_connections=3) as service, crowd(service, 3, slow) as busy:

        async def all_busy() -> bool:
            return await open_connections(service) == 3

        await service.parts.entered.wait()
        await until(all_busy)
        async with connected(service, slow) as waiting:
            service.parts.let_go.set()
            for client in (*busy, waiting):
                assert (await client.answer())[0] == 200


async def test_two_services_of_a_process_share_its_places(tmp_path: Path) -> None:
    shared = Connections(4, dict.fromkeys(Wait, 30.0))
    assert [shared.take_place() for _ in range(5)] == [True] * 4 + [False]
    resumed: list[str] = []
    shared.when_place(lambda: resumed.append("one"))
    shared.when_place(lambda: resumed.append("other"))
    shared.release_place()
    assert resumed == ["one", "other"]
    assert shared.take_place()


@dataclass(eq=False)
class Waiting:
    """A connection that waits in one way."""

    kind: Wait | None
    since: float
    pool: Connections
    held: int = 0
    ended: list[Cause] = field(default_factory=list)

    def wait(self) -> Wait | None:
        return None if self.ended else self.kind

    def end(self, cause: Cause) -> None:
        self.ended.append(cause)
        self.pool.release(self)


def pool_of(most_held: int = 1 << 20, **kinds: tuple[Wait | None, int]) -> tuple[Connections, dict[str, Any]]:
    """A pool with connections of each kind, all places in use."""
    count = sum(number for _, number in kinds.values())
    pool = Connections(count, dict.fromkeys(Wait, 30.0), most_held)
    made = {
        name: [Waiting(kind, float(since), pool) for since in range(number)]
        for name, (kind, number) in kinds.items()
    }
    for waiting in made.values():
        for one in waiting:
            assert pool.take_place()
            pool.add(one)
    return pool, made


def test_the_oldest_of_the_most_common_wait_is_closed_for_a_new_connection() -> None:
    pool, made = pool_of(idle=(Wait.IDLE, 5), head=(Wait.HEAD, 6), busy=(None, 30))
    assert not pool.make_place()
    assert [one.ended for one in made["head"]] == [[Cause.TOO_MANY], *[[]] * 5]
    assert not any(one.ended for one in (*made["idle"], *made["busy"]))


def test_of_many_waiting_connections_several_are_closed_at_once() -> None:
    pool, made = pool_of(head=(Wait.HEAD, 640))
    assert not pool.make_place()
    assert [bool(one.ended) for one in made["head"]] == [True] * 20 + [False] * 620


def test_incomplete_requests_hold_so_many_bytes_in_all() -> None:
    pool, made = pool_of(1_000, head=(Wait.HEAD, 2), body=(Wait.BODY, 2), idle=(Wait.IDLE, 1), busy=(None, 1))
    first, second = made["body"]
    for one in (first, second, *made["head"]):
        one.since += 10
        pool.hold(one, 250)
    assert not any(one.ended for one in (*made["body"], *made["head"]))
    second.since = 5.0
    pool.hold(first, 1)
    assert [one.ended for one in (second, first, *made["head"])] == [[Cause.TOO_MANY], [], [], []]
    pool.release(first)
    pool.hold(first, 249)
    assert not first.ended


@pytest.mark.parametrize(
    ("soft", "most"), [(1024, 640), (20_000, 4_000), (resource.RLIM_INFINITY, 4_000), (256, 128), (1, 1)]
)
def test_the_places_leave_descriptors_for_the_process_itself(
    soft: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert most_connections() == most


# What is no request


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"POST /fast HTTP/1.1\r\nHost: test\r\nContent-Length: -1\r\n\r\n",
        b"POST /fast HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"POST /fast HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf\r\n",
        b"GET /things/1 HTTP/1.1\r\nHost : test\r\n\r\n",
    ],
)
async def test_an_invalid_request_gets_a_problem_document(sent: bytes, service: Live) -> None:
    async with connected(service, sent) as client:
        status, fields, body = await client.answer()
    assert (status, fields["content-type"]) == (400, "application/problem+json")
    assert json.loads(body) == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "This is not a valid HTTP request.",
    }


async def test_a_body_over_the_limit_is_still_refused_as_too_large(service: Live) -> None:
    assert (await service.http.post("/fast", content=b"x" * (LIMIT + 1))).status_code == 413
