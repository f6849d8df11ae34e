"""Calls of the Bot API over real sockets, against a server that answers byte for byte."""

import asyncio
import gc
import gzip
import re
import socket
import time
from collections.abc import AsyncIterator

import orjson
import pytest
import telegram
from telegram.error import TelegramError

from services.outbox.messages import Outcome, Reason
from services.outbox.telegram import connections, errors, http_request
from services.outbox.telegram.bot_api import make_bot
from services.outbox.telegram.connections import CONNECT_SECONDS
from services.outbox.telegram.errors import BadAnswerError, NoAnswerError, NotReachedError
from services.outbox.telegram.http_request import Request
from services.outbox.telegram.request_body import CallParameters
from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests.outbox.making import ADA
from tests.outbox.telegram.raw_server import OK, Answer, Server, reset, silence, writes
from tests.ports import free_port
from tests.servers import BOT_ID, Sandbox


@pytest.fixture
async def request_(server: Server) -> AsyncIterator[Request]:
    made = Request(server.url, 4)
    yield made
    await made.shutdown()


async def ask(
    request: Request, url: str, text: str = "hello", file: bytes = b"", seconds: float = 5.0
) -> tuple[int, bytes]:
    values = {"text": text} | ({"document": telegram.InputFile(file, "a.bin")} if file else {})
    parameters = CallParameters.of(values)
    return await request.do_request(f"{url}/botTOKEN/sendMessage", "POST", parameters, seconds)  # type: ignore[arg-type] # as Bot.call


# Requests and answers


async def test_the_request_arrives_as_it_was_given(server: Server, request_: Request) -> None:
    assert await ask(request_, server.url, "hello") == (200, b"ok")
    (head,) = server.heads
    assert head.startswith(b"POST /botTOKEN/sendMessage HTTP/1.1\r\n")
    assert f"\r\nHost: localhost:{server.port}\r\n".encode() in head
    assert b"\r\nContent-Type: application/json\r\n" in head
    assert server.bodies == [b'{"text":"hello"}']


async def test_nothing_in_a_path_ends_the_line(server: Server, request_: Request) -> None:
    await request_.do_request(f"{server.url}/file/a b\r\nX: y/é.txt", "GET")
    assert server.heads[0].startswith(b"GET /file/a%20bX:%20y/%C3%A9.txt HTTP/1.1\r\nHost: ")


async def test_user_and_password_of_the_address_reach_its_server_alone(server: Server) -> None:
    address = server.url.replace("://", "://us%C3%A9r:p%40ss@")
    bot = make_bot("1:token", address, 1)
    server.answers = [writes(b'HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n{"ok":true,"result":true}')]
    async with bot:
        await bot.call("getMe", {})
    assert b"Authorization: Basic dXPDqXI6cEBzcw==\r\n" in server.heads[0]
    assert f"Host: localhost:{server.port}\r\n".encode() in server.heads[0]
    assert "p%40ss" not in bot.base_url + bot.base_file_url


@pytest.mark.parametrize("address", ["", "localhost:8080", "ftp://localhost", "http://"])
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="http://host or https://host"):
        Request(address, 1)


def test_a_refused_address_is_shown_without_its_password() -> None:
    with pytest.raises(ValueError, match="redacted") as refused:
        Request("ftp://user:hunter2@localhost", 1)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(ValueError, match="redacted") as refused:
        Request("http://user:hunter2@localhost:99999", 1)
    assert "hunter2" not in str(refused.value) + str(refused.value.__context__)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
ZIPPED = gzip.compress(b"hello")
GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(ZIPPED), ZIPPED)


@pytest.mark.parametrize(
    ("pieces", "status", "body"),
    [
        ((OK,), 200, b"ok"),
        (tuple(OK[n : n + 1] for n in range(len(OK))), 200, b"ok"),
        ((CHUNKED, b"2\r\nhe\r\n", b"3;x=y\r\nllo\r\n", b"0\r\n\r\n"), 200, b"hello"),
        ((CHUNKED, b"5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n"), 200, b"hello"),
        ((GZIP,), 200, b"hello"),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), 204, b""),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",), 200, b""),
        ((b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", OK), 200, b"ok"),
        ((BAD_GATEWAY,), 502, b"<html>"),
        ((b"HTTP/1.1 301 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",), 301, b""),
        ((b"HTTP/1.1 307 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",), 307, b""),
    ],
    ids=[
        "length",
        "bytes",
        "chunks",
        "trailer",
        "gzip",
        "no-content",
        "empty",
        "early-hints",
        "html",
        "301",
        "307",
    ],
)
async def test_an_answer_is_read_whole_and_its_connection_used_again(
    server: Server, request_: Request, pieces: tuple[bytes, ...], status: int, body: bytes
) -> None:
    server.answers = [writes(*pieces)]
    assert [await ask(request_, server.url) for _ in range(3)] == [(status, body)] * 3
    assert (server.connections, len(server.bodies)) == (1, 3)


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"],
)
async def test_an_answer_without_a_length_ends_with_its_connection(
    server: Server, request_: Request, head: bytes
) -> None:
    server.answers = [writes(head + b"al", b"l of it", then_close=True), writes(OK)]
    assert await ask(request_, server.url) == (200, b"all of it")
    assert await ask(request_, server.url) == (200, b"ok")
    assert server.connections == 2


async def test_a_connection_that_its_server_will_close_is_not_used_again(
    server: Server, request_: Request
) -> None:
    server.answers = [writes(OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))]
    await ask(request_, server.url)
    await ask(request_, server.url)
    assert server.connections == 2


async def test_a_large_body_arrives_and_a_large_answer_comes(server: Server) -> None:
    large = bytes(range(256)) * 20_000
    request = Request(server.url, 1, largest_answer=len(large))
    server.answers = [writes(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(large), large))]
    assert await ask(request, server.url, file=large) == (200, large)
    assert large in server.bodies[0]
    await request.shutdown()


async def test_a_file_has_the_form_that_the_bot_api_server_reads(server: Server, request_: Request) -> None:
    """It reads ``filename="…"`` alone, in UTF-8 with backslashes (tdlib's HttpReader.cpp)."""
    file = telegram.InputFile(b"content", filename='a"b лог.txt')
    values = {
        "chat_id": 7,
        "caption": "two\r\nlines",
        "caption_entities": [{"type": "bold"}],
        "document": file,
    }
    await request_.do_request(f"{server.url}/botT/sendDocument", "POST", CallParameters.of(values))  # type: ignore[arg-type] # as Bot.call
    found = re.search(rb"boundary=(\S+)\r\n", server.heads[0])
    assert found
    parts = {}
    for part in server.bodies[0].split(b"--" + found[1])[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'name="(\w+)"', head)
        assert name
        parts[name[1].decode()] = (head, content.removesuffix(b"\r\n"))
    assert {name: content for name, (_, content) in parts.items()} == {
        "chat_id": b"7",
        "caption": b"two\r\nlines",
        "caption_entities": b'[{"type":"bold"}]',
        "document": b"content",
    }
    assert 'filename="a\\"b лог.txt"'.encode() in parts["document"][0]
    assert b"Content-Type: text/plain\r\n" in parts["document"][0] + b"\r\n"


async def test_the_typed_methods_of_the_library_work_too(sandbox: Sandbox) -> None:
    async with make_bot(DEFAULT_TOKEN, sandbox.url, 2) as bot:
        assert (await bot.get_me()).id == BOT_ID
        sent = await bot.send_document(ADA, b"content", caption="a file", filename="a.txt")
        assert (sent.document and sent.document.file_name, sent.caption) == ("a.txt", "a file")


# Failures


def test_each_failure_has_its_outcome() -> None:
    outcomes = {kind: errors.translate(kind("x"), 0, 0).outcome for kind in (NotReachedError, NoAnswerError)}
    assert outcomes == {NotReachedError: Outcome.NOT_SENT, NoAnswerError: Outcome.UNKNOWN}


async def test_nobody_listens_so_nothing_left() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    request = Request(url, 1)
    with pytest.raises(NotReachedError):
        await ask(request, url)
    with pytest.raises(NotReachedError, match="Cannot connect"):  # not: no connection is free
        await ask(request, url)
    await request.shutdown()


async def test_no_such_host_so_nothing_left() -> None:
    request = Request("http://no-such-host.invalid", 1)
    with pytest.raises(NotReachedError):
        await ask(request, "http://no-such-host.invalid")
    await request.shutdown()


async def test_a_server_that_takes_no_connection_in_time_was_not_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _connect_within(monkeypatch, 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listening:  # nothing accepts, and TLS is not answered
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        request = Request(url, 1)
        with pytest.raises(NotReachedError, match=r"no connection within 0\.05 s"):
            await ask(request, url)
        await request.shutdown()


async def test_a_request_that_gets_no_free_connection_in_time_did_not_leave(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(server.url, 1)
    server.answers = [silence]
    first = asyncio.create_task(ask(request, server.url))
    await server.has_read(1)
    _connect_within(monkeypatch, 0.05)
    with pytest.raises(NotReachedError, match=r"no connection within 0\.05 s"):
        await ask(request, server.url)
    assert len(server.bodies) == 1
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await request.shutdown()


def _connect_within(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    for module in (http_request, connections):
        monkeypatch.setattr(module, "CONNECT_SECONDS", seconds)


BROKEN: list[tuple[str, Answer]] = [
    ("closed", writes(then_close=True)),
    ("reset", reset),
    ("no-http", writes(b"220 smtp.example.org ESMTP\r\n")),
    ("half-a-head", writes(b"HTTP/1.1 200 OK\r\nContent-Le", then_close=True)),
    ("half-a-body", writes(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal", then_close=True)),
    ("half-a-chunk", writes(CHUNKED + b"a\r\nhal", then_close=True)),
    ("no-last-chunk", writes(CHUNKED + b"3\r\nhal\r\n", then_close=True)),
    ("bad-chunk", writes(CHUNKED + b"zzz\r\nhal\r\n")),
    ("bad-gzip", writes(GZIP.replace(ZIPPED, b"x" * len(ZIPPED)))),
    ("hints-only", writes(b"HTTP/1.1 103 Early Hints\r\n\r\n", then_close=True)),
]


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("answer", [one for _, one in BROKEN], ids=[name for name, _ in BROKEN])
async def test_without_a_whole_answer_the_outcome_is_unknown_and_nothing_is_sent_again(
    server: Server, request_: Request, answer: Answer, method: str
) -> None:
    server.answers = [writes(OK), answer, writes(OK)]
    url = f"{server.url}/botTOKEN/getMe"
    await request_.do_request(url, method)
    with pytest.raises(NoAnswerError) as unknown:
        await request_.do_request(url, method)
    assert "TOKEN" not in str(unknown.value)
    # Sent once, on the connection that was there; never again by the library itself.
    assert (len(server.bodies), server.connections) == (2, 1)
    assert await request_.do_request(url, method) == (200, b"ok")
    assert server.connections == 2


async def test_an_answer_that_does_not_come_in_time_is_given_up(server: Server, request_: Request) -> None:
    server.answers = [silence, writes(OK)]
    with pytest.raises(NoAnswerError, match=r"no answer within 0\.05 s"):
        await ask(request_, server.url, seconds=0.05)
    assert await ask(request_, server.url) == (200, b"ok")
    assert server.connections == 2


async def test_an_earlier_request_with_more_time_does_not_lend_it(server: Server, request_: Request) -> None:
    server.answers = [writes(OK), silence]
    await ask(request_, server.url, seconds=30.0)
    async with asyncio.timeout(5):
        with pytest.raises(NoAnswerError, match=r"no answer within 0\.05 s"):
            await ask(request_, server.url, seconds=0.05)


async def test_an_earlier_request_with_less_time_does_not_hurry_it(server: Server, request_: Request) -> None:
    passed = asyncio.Event()

    async def late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asyncio.get_running_loop().call_later(0.15, passed.set)
        await passed.wait()
        writer.write(OK)

    server.answers = [writes(OK), late]
    await ask(request_, server.url, seconds=0.05)
    assert await ask(request_, server.url, seconds=5.0) == (200, b"ok")


async def _trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in OK:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.01)  # the slowness is what is tested


async def test_a_slow_answer_that_is_whole_in_time_is_read(server: Server, request_: Request) -> None:
    server.answers = [_trickle]
    assert await ask(request_, server.url, seconds=10.0) == (200, b"ok")


NO_LENGTH = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "drip"),
    [(b"HTTP/1.1 200 OK\r\nX: ", b"y"), (CHUNKED, b"1\r\n \r\n"), (NO_LENGTH, b" ")],
    ids=["head", "chunks", "body"],
)
async def test_an_answer_that_never_ends_takes_no_longer_than_the_answer_may(
    server: Server, request_: Request, head: bytes, drip: bytes
) -> None:
    """The time counts from the connection on, not from each byte: ten seconds to connect add nothing."""

    async def drips(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(drip)
            await writer.drain()
            await asyncio.sleep(0.01)  # the slowness is what is tested

    server.answers = [drips, writes(OK)]
    async with asyncio.timeout(CONNECT_SECONDS):
        with pytest.raises(NoAnswerError, match=r"no answer within 0\.2 s"):
            await ask(request_, server.url, seconds=0.2)
    assert await ask(request_, server.url) == (200, b"ok")


async def test_tls_to_a_port_without_tls_ends(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server waits for the end of a request's head, and the client for the server's part of TLS."""
    _connect_within(monkeypatch, 0.2)
    request = Request(server.url.replace("http:", "https:"), 1)
    with pytest.raises(NotReachedError, match=r"no connection within 0\.2 s"):
        await ask(request, server.url.replace("http:", "https:"))
    await request.shutdown()
    assert server.bodies == []


async def test_a_large_file_has_its_time_while_it_leaves(
    server: Server, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = bytes(16_000_000)  # more than the kernel takes at once

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while left:
            left -= len(await reader.read(400_000))
            await asyncio.sleep(0.01)  # a slow line: longer in all than the time for an answer
        writer.write(OK)

    monkeypatch.setattr(server, "serve", slowly)
    server.listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    assert await ask(request_, server.url, file=large, seconds=0.25) == (200, b"ok")


async def test_a_file_that_the_server_does_not_read_is_given_up(
    server: Server, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def reads_no_body(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.Event().wait()

    monkeypatch.setattr(server, "serve", reads_no_body)
    monkeypatch.setattr(http_request, "SLOWEST_UPLOAD", 1e12)
    _connect_within(monkeypatch, 0.5)
    with pytest.raises(NoAnswerError, match=r"no answer within 0\.05 s"):
        await ask(request_, server.url, file=bytes(16_000_000), seconds=0.05)


async def test_a_request_that_is_cancelled_takes_its_connection_with_it(
    server: Server, request_: Request
) -> None:
    server.answers = [silence, writes(OK)]
    asking = asyncio.create_task(ask(request_, server.url))
    await server.has_read(1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await ask(request_, server.url) == (200, b"ok")
    assert server.connections == 2


async def test_a_second_answer_to_one_request_is_dropped(server: Server, request_: Request) -> None:
    server.answers = [writes(OK.replace(b"ok", b"no") + OK), writes(OK)]
    assert await ask(request_, server.url) == (200, b"no")
    assert await ask(request_, server.url) == (200, b"ok")
    assert server.connections == 2


async def test_an_answer_with_something_else_behind_it_counts_as_none(
    server: Server, request_: Request
) -> None:
    server.answers = [writes(OK.replace(b"ok", b"no") + b"and something that is no HTTP"), writes(OK)]
    with pytest.raises(NoAnswerError, match="no HTTP"):
        await ask(request_, server.url)
    assert await ask(request_, server.url) == (200, b"ok")
    assert server.connections == 2


async def test_an_answer_that_comes_while_the_connection_is_idle_is_dropped(
    server: Server, request_: Request
) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(OK.replace(b"ok", b"no"))

    server.answers = [answer, writes(OK)]
    assert await ask(request_, server.url) == (200, b"no")
    writers[0].write(OK.replace(b"ok", b"??"))
    for _ in range(10):
        await asyncio.sleep(0.001)  # until it has come through the loopback
    assert await ask(request_, server.url) == (200, b"ok")
    assert server.connections == 2


async def test_a_server_that_speaks_before_it_is_asked_gets_no_request(
    server: Server, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example.org ESMTP\r\n")
        server.bodies.append(await reader.read())

    monkeypatch.setattr(server, "serve", greets)
    with pytest.raises(TelegramError) as refused:
        await ask(request_, server.url)
    assert isinstance(refused.value, NotReachedError | NoAnswerError)


# The size of answers

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + bytes(1001)
PIECES = [b"64\r\n" + bytes(100) + b"\r\n"] * 11
BOMB = gzip.compress(bytes(1_000_000))
UNZIPPED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(BOMB), BOMB)


@pytest.mark.parametrize(
    "answer", [writes(SIZED), writes(CHUNKED, *PIECES), writes(UNZIPPED)], ids=["length", "chunks", "gzip"]
)
async def test_an_answer_that_is_too_large_is_a_bad_one(server: Server, answer: Answer) -> None:
    request = Request(server.url, 1, largest_answer=1_000)
    server.answers = [answer, writes(OK)]
    with pytest.raises(BadAnswerError, match="larger than 1000 bytes") as refused:
        await ask(request, server.url)
    result = errors.translate(refused.value, 0, 0)
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, Reason.BAD_ANSWER)
    assert await ask(request, server.url) == (200, b"ok")
    await request.shutdown()


async def test_reading_stops_at_the_largest_answer(server: Server, request_: Request) -> None:
    written = 0

    async def without_end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(65_536))
            await writer.drain()
            written += 65_536

    server.answers = [without_end]
    with pytest.raises(BadAnswerError, match=f"larger than {http_request.LARGEST_ANSWER} bytes"):
        await ask(request_, server.url)
    await server.is_left()
    # What was read, and what the kernel holds of a loopback connection.
    assert written < http_request.LARGEST_ANSWER + 16_000_000


async def test_a_head_without_end_is_no_answer(server: Server, request_: Request) -> None:
    async def without_end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X: y\r\n" * 1_000)
            await writer.drain()

    server.answers = [without_end]
    with pytest.raises(NoAnswerError):
        await ask(request_, server.url)
    await server.is_left()


async def test_getupdates_may_answer_more_than_other_methods(server: Server) -> None:
    """The Bot API server puts up to 4 MiB into one (telegram.md 1.4)."""
    assert http_request.LARGEST_UPDATES >= 2 * 4 * 1_048_576
    body = b'{"ok":true,"result":[%s]}' % (b" " * 2 * http_request.LARGEST_ANSWER)
    server.answers = [writes(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))]
    async with make_bot("1:token", server.url, 1) as bot:
        assert await bot.call("getUpdates", {}) == []
        with pytest.raises(BadAnswerError):
            await bot.call("sendMessage", {})


# Connections


async def test_a_connection_that_its_server_has_closed_meanwhile_is_replaced(
    server: Server, request_: Request
) -> None:
    server.answers = [writes(OK, then_close=True)]
    for _ in range(3):
        await ask(request_, server.url)
        await server.is_left()
        await asyncio.sleep(0.01)  # the end is on its way through the loopback
    assert server.connections == 3


async def test_a_connection_that_was_idle_for_long_is_not_used_again(
    server: Server, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(request_, server.url)
    await ask(request_, server.url)
    assert server.connections == 1
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.0)
    impatient = Request(server.url, 4)
    await ask(impatient, server.url)
    await ask(impatient, server.url)
    await impatient.shutdown()
    assert server.connections == 3


async def test_a_second_address_of_the_server_is_tried_when_the_first_refuses(
    server: Server, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(*_: object, **__: object) -> list[object]:
        kind = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [
            (socket.AF_INET6, *kind, ("::1", server.port, 0, 0)),
            (socket.AF_INET, *kind, ("127.0.0.1", server.port)),
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
    assert await ask(request_, server.url) == (200, b"ok")


async def test_no_more_are_opened_than_allowed_and_all_requests_are_answered(
    server: Server, request_: Request
) -> None:
    most = 0

    async def notes(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        most = max(most, server.open)
        await asyncio.sleep(0)
        writer.write(OK)

    server.answers = [notes]
    answers = await asyncio.gather(*(ask(request_, server.url) for _ in range(50)))
    assert answers == [(200, b"ok")] * 50
    assert most == server.connections == 4


async def test_each_of_many_gets_its_own_answer(server: Server, request_: Request) -> None:
    async def repeats(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = server.bodies[-1]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    server.answers = [repeats]
    answers = await asyncio.gather(*(ask(request_, server.url, f"number {n}") for n in range(200)))
    assert answers == [(200, b'{"text":"number %d"}' % n) for n in range(200)]


async def test_closing_leaves_nothing_open(server: Server) -> None:
    request = Request(server.url, 4)
    await asyncio.gather(*(ask(request, server.url) for _ in range(4)))
    server.answers = [silence]
    in_flight = asyncio.create_task(ask(request, server.url))
    await server.has_read(5)
    await request.shutdown()
    with pytest.raises(NoAnswerError):
        await in_flight
    await server.is_left()
    gc.collect()  # a transport that was left open would warn


async def test_after_the_shutdown_nothing_leaves_until_it_is_initialized_again(
    server: Server, request_: Request
) -> None:
    await ask(request_, server.url)
    await request_.shutdown()
    with pytest.raises(NotReachedError):
        await ask(request_, server.url)
    await request_.initialize()
    assert await ask(request_, server.url) == (200, b"ok")


async def test_proxies_of_the_environment_are_ignored(
    server: Server, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        for spelled in (name, name.upper()):
            monkeypatch.setenv(spelled, f"http://127.0.0.1:{free_port()}")
    assert await ask(request_, server.url) == (200, b"ok")


async def test_no_cookie_is_sent_back(server: Server, request_: Request) -> None:
    server.answers = [writes(OK.replace(b"OK\r\n", b"OK\r\nSet-Cookie: a=b\r\n"))]
    await ask(request_, server.url)
    await ask(request_, server.url)
    assert b"cookie" not in server.heads[1].lower()


async def test_a_poll_does_not_take_the_connection_of_a_call(server: Server) -> None:
    body = orjson.dumps({"ok": True, "result": True})
    server.answers = [silence, writes(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))]
    async with make_bot("1:token", server.url, 1) as bot:
        poll = asyncio.create_task(bot.call("getUpdates", {"timeout": 50}))
        await server.has_read(1)
        assert await bot.call("getMe", {}) is True
        assert not poll.done()
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)


async def test_every_call_is_counted_with_its_status(server: Server) -> None:
    counted: list[tuple[str, str, str, bool]] = []

    def count(provider: str, method: str, status: str, seconds: float) -> None:
        counted.append((provider, method, status, 0 < seconds < time.monotonic()))

    request = Request(server.url, 1, count)
    server.answers = [writes(BAD_GATEWAY), reset]
    await ask(request, server.url)
    with pytest.raises(NoAnswerError):
        await ask(request, server.url)
    await request.shutdown()
    assert counted == [
        ("telegram", "sendMessage", "502", True),
        ("telegram", "sendMessage", "none", True),
    ]


# TLS


@pytest.mark.usefixtures("trusted")
async def test_a_server_with_a_trusted_certificate_is_called_over_tls(secure: Server) -> None:
    request = Request(secure.url, 2)
    large = bytes(1_000_000)
    assert [await ask(request, secure.url, file=large) for _ in range(3)] == [(200, b"ok")] * 3
    assert secure.connections == 1
    assert all(large in body for body in secure.bodies)
    await request.shutdown()


async def test_a_server_with_a_certificate_of_its_own_making_gets_no_request(secure: Server) -> None:
    request = Request(secure.url, 1)
    with pytest.raises(NotReachedError, match="CERTIFICATE_VERIFY_FAILED"):
        await ask(request, secure.url)
    await request.shutdown()
    assert secure.bodies == []


@pytest.mark.usefixtures("trusted")
async def test_a_server_with_a_certificate_for_another_name_gets_no_request(secure: Server) -> None:
    url = secure.url.replace("localhost", "127.0.0.1")
    request = Request(url, 1)
    with pytest.raises(NotReachedError, match="CERTIFICATE_VERIFY_FAILED"):
        await ask(request, url)
    await request.shutdown()
    assert secure.bodies == []


@pytest.mark.usefixtures("trusted")
async def test_a_connection_that_breaks_under_tls_leaves_the_outcome_unknown(secure: Server) -> None:
    request = Request(secure.url, 1)
    secure.answers = [reset, writes(OK)]
    with pytest.raises(NoAnswerError):
        await ask(request, secure.url)
    assert await ask(request, secure.url) == (200, b"ok")
    await request.shutdown()


@pytest.mark.usefixtures("trusted")
async def test_closing_leaves_nothing_open_under_tls(secure: Server) -> None:
    request = Request(secure.url, 4)
    await asyncio.gather(*(ask(request, secure.url) for _ in range(4)))
    await request.shutdown()
    await secure.is_left()
