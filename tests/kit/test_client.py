"""The client for Telegram, against a server that answers byte for byte what a test wants."""

import asyncio
import gc
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohappyeyeballs
import pytest

from services.kit import client as module
from services.kit.client import Client, NoAnswerError, NotReachedError
from tests.ports import free_port
from tests.servers import until

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def says(*pieces: bytes, then_close: bool = False) -> Answer:
    """Writes the pieces, each with a look round in between."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if then_close:
            writer.close()

    return answer


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@dataclass
class Server:
    """Answers each request by the next of its answers, and the last of them for ever."""

    answers: list[Answer] = field(default_factory=lambda: [says(OK)])
    connections: int = 0
    open: int = 0
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    url: str = ""
    port: int = 0
    listening: socket.socket = field(init=False)
    handlers: set["asyncio.Task[None]"] = field(default_factory=set)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def asked(self, times: int) -> None:
        """Until it has read so many requests."""

        async def has_read() -> bool:
            return len(self.bodies) >= times

        await until(has_read)

    async def alone(self) -> None:
        """Until no connection is left."""

        async def is_alone() -> bool:
            return not self.open

        await until(is_alone)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handlers.add(asyncio.create_task(self.serve(reader, writer)))
        self.writers.append(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(length))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.transport.abort()


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()
    server.listening = socket.create_server(("127.0.0.1", 0))
    async with await asyncio.start_server(server.accept, sock=server.listening, ssl=tls):
        server.port = server.listening.getsockname()[1]
        server.url = f"{'https' if tls else 'http'}://localhost:{server.port}"
        yield server
        for handler in server.handlers:
            handler.cancel()
        await asyncio.gather(*server.handlers, return_exceptions=True)
        for writer in server.writers:
            writer.transport.abort()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    made = Client(server.url, 4)
    yield made
    await made.close()


async def ask(client: Client, body: bytes = b"{}", seconds: float = 5.0) -> tuple[int, bytes]:
    return await client.ask(client.head("POST", "/botTOKEN/sendMessage", "application/json"), body, seconds)


# What is asked, and what is answered


async def test_the_request_arrives_as_it_was_asked(server: Server, client: Client) -> None:
    assert await ask(client, b'{"text": "hello"}') == (200, b"ok")
    assert server.heads == [
        f"POST /botTOKEN/sendMessage HTTP/1.1\r\nHost: localhost:{server.port}\r\n"
        "Content-Type: application/json\r\nContent-Length: 17\r\n\r\n".encode()
    ]
    assert server.bodies == [b'{"text": "hello"}']


async def test_nothing_in_a_path_ends_the_line(server: Server, client: Client) -> None:
    await client.ask(client.head("GET", "/file/a b\r\nX: y/é.txt"), b"", 5.0)
    assert server.heads[0].startswith(b"GET /file/a%20b%0D%0AX:%20y/%C3%A9.txt HTTP/1.1\r\nHost: ")


async def test_user_and_password_of_the_address_are_told_to_its_server_alone(server: Server) -> None:
    client = Client(server.url.replace("://", "://user:p%40ss@"), 1)
    await ask(client)
    await client.close()
    assert b"Authorization: Basic dXNlcjpwQHNz\r\n" in server.heads[0]
    assert f"Host: localhost:{server.port}\r\n".encode() in server.heads[0]


@pytest.mark.parametrize("address", ["", "localhost:8080", "ftp://localhost", "http://"])
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="neither http:// nor https://"):
        Client(address, 1)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"


@pytest.mark.parametrize(
    ("pieces", "status", "body"),
    [
        ((OK,), 200, b"ok"),
        (tuple(OK[n : n + 1] for n in range(len(OK))), 200, b"ok"),
        ((CHUNKED, b"2\r\nhe\r\n", b"3;x=y\r\nllo\r\n", b"0\r\n\r\n"), 200, b"hello"),
        ((CHUNKED, b"5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n"), 200, b"hello"),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), 204, b""),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",), 200, b""),
        ((b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", OK), 200, b"ok"),
        ((BAD_GATEWAY,), 502, b"<html>"),
        ((b"HTTP/1.1 301 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",), 301, b""),
    ],
    ids=["length", "bytes", "chunks", "trailer", "no-content", "empty", "early-hints", "html", "moved"],
)
async def test_an_answer_is_read_whole_and_its_connection_used_again(
    server: Server, client: Client, pieces: tuple[bytes, ...], status: int, body: bytes
) -> None:
    server.answers = [says(*pieces)]
    assert [await ask(client) for _ in range(3)] == [(status, body)] * 3
    assert server.connections == 1


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"],
)
async def test_an_answer_without_a_length_ends_with_its_connection(
    server: Server, client: Client, head: bytes
) -> None:
    server.answers = [says(head + b"al", b"l of it", then_close=True), says(OK)]
    assert await ask(client) == (200, b"all of it")
    assert await ask(client) == (200, b"ok")
    assert server.connections == 2


async def test_a_connection_that_its_server_will_close_is_not_used_again(
    server: Server, client: Client
) -> None:
    server.answers = [says(OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))]
    await ask(client)
    await ask(client)
    assert server.connections == 2


async def test_a_large_body_arrives_and_a_large_answer_comes(server: Server, client: Client) -> None:
    large = bytes(range(256)) * 20_000
    server.answers = [says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(large), large))]
    assert await ask(client, large) == (200, large)
    assert server.bodies == [large]


# What went wrong


async def test_nobody_listens_so_nothing_left() -> None:
    client = Client(f"http://127.0.0.1:{free_port()}", 1)
    with pytest.raises(NotReachedError):
        await ask(client)
    with pytest.raises(NotReachedError):  # the room for a connection is free again
        await ask(client)


async def test_no_such_host_so_nothing_left() -> None:
    with pytest.raises(NotReachedError):
        await ask(Client("http://no-such-host.invalid", 1))


async def test_a_server_that_takes_no_connection_in_time_was_not_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listening:  # nobody accepts, nor says hello
        client = Client(f"https://127.0.0.1:{listening.getsockname()[1]}", 1)
        with pytest.raises(NotReachedError, match=r"no connection within 0\.05 s"):
            await ask(client)


BROKEN: list[tuple[str, Answer]] = [
    ("closed", says(then_close=True)),
    ("reset", reset),
    ("no-http", says(b"220 smtp.example.org ESMTP\r\n")),
    ("half-a-head", says(b"HTTP/1.1 200 OK\r\nContent-Le", then_close=True)),
    ("half-a-body", says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal", then_close=True)),
    ("half-a-chunk", says(CHUNKED + b"a\r\nhal", then_close=True)),
    ("no-last-chunk", says(CHUNKED + b"3\r\nhal\r\n", then_close=True)),
    ("bad-chunk", says(CHUNKED + b"zzz\r\nhal\r\n")),
    ("hints-only", says(b"HTTP/1.1 103 Early Hints\r\n\r\n", then_close=True)),
]


@pytest.mark.parametrize("answer", [one for _, one in BROKEN], ids=[name for name, _ in BROKEN])
async def test_without_a_whole_answer_nobody_knows_and_the_connection_is_given_up(
    server: Server, client: Client, answer: Answer
) -> None:
    server.answers = [says(OK), answer, says(OK)]
    await ask(client)
    with pytest.raises(NoAnswerError):
        await ask(client)
    # Asked once, on the connection that was there; never again by itself.
    assert (len(server.bodies), server.connections) == (2, 1)
    assert await ask(client) == (200, b"ok")
    assert server.connections == 2


async def test_an_answer_that_does_not_come_in_time_is_given_up(server: Server, client: Client) -> None:
    server.answers = [silence, says(OK)]
    with pytest.raises(NoAnswerError, match=r"no answer within 0\.05 s"):
        await ask(client, seconds=0.05)
    assert await ask(client) == (200, b"ok")
    assert server.connections == 2


async def test_an_earlier_request_with_more_patience_does_not_lend_it(server: Server, client: Client) -> None:
    server.answers = [says(OK), silence]
    await ask(client, seconds=30.0)
    async with asyncio.timeout(5):
        with pytest.raises(NoAnswerError, match=r"no answer within 0\.05 s"):
            await ask(client, seconds=0.05)


async def test_an_earlier_request_with_less_patience_does_not_hurry_it(
    server: Server, client: Client
) -> None:
    passed = asyncio.Event()

    async def late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asyncio.get_running_loop().call_later(0.15, passed.set)
        await passed.wait()
        writer.write(OK)

    server.answers = [says(OK), late]
    await ask(client, seconds=0.05)
    assert await ask(client, seconds=5.0) == (200, b"ok")


async def test_a_slow_answer_has_its_time_from_each_of_its_bytes(server: Server, client: Client) -> None:
    async def slowly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in OK:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.01)  # the slowness is what is tested

    server.answers = [slowly]
    assert await ask(client, seconds=0.3) == (200, b"ok")


async def test_a_large_body_has_its_time_while_it_leaves(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = bytes(3_000_000)
    # Little room in the kernel: what it holds is neither with us nor with the server.
    connect = aiohappyeyeballs.start_connection

    async def narrow(*args: Any, **named: Any) -> socket.socket:
        made: socket.socket = await connect(*args, **named)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
        return made

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        left = len(large)
        while left:
            left -= len(await reader.read(64_000))
            await asyncio.sleep(0.01)  # a line that is slow: longer over all than the patience
        writer.write(OK)

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", narrow)
    monkeypatch.setattr(server, "serve", slowly)
    server.listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    assert await ask(client, large, seconds=0.25) == (200, b"ok")


async def test_a_request_that_is_given_up_takes_its_connection_with_it(
    server: Server, client: Client
) -> None:
    server.answers = [silence, says(OK)]
    asking = asyncio.create_task(ask(client))
    await server.asked(1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await ask(client) == (200, b"ok")
    assert server.connections == 2


@pytest.mark.parametrize("more", [OK, b"and something that nobody asked for"])
async def test_an_answer_more_than_was_asked_for_reaches_nobody(
    server: Server, client: Client, more: bytes
) -> None:
    other = OK.replace(b"ok", b"no")
    server.answers = [says(other + more), says(OK)]
    assert await ask(client) == (200, b"no")
    assert await ask(client) == (200, b"ok")
    assert server.connections == 2


async def test_what_comes_while_nobody_asks_ends_the_connection(server: Server, client: Client) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def and_keeps(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(OK.replace(b"ok", b"no"))

    server.answers = [and_keeps, says(OK)]
    assert await ask(client) == (200, b"no")
    writers[0].write(OK.replace(b"ok", b"??"))
    await server.alone()
    assert await ask(client) == (200, b"ok")


# Connections


async def test_one_that_its_server_has_closed_meanwhile_is_replaced(server: Server, client: Client) -> None:
    server.answers = [says(OK, then_close=True)]
    for _ in range(3):
        await ask(client)
        await server.alone()
        await asyncio.sleep(0.01)  # the news is on its way through the loopback
    assert server.connections == 3


async def test_one_that_was_idle_for_long_is_not_trusted(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(client)
    await ask(client)
    assert server.connections == 1
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    await ask(client)
    assert server.connections == 2


async def test_no_more_are_opened_than_allowed_and_all_requests_are_answered(
    server: Server, client: Client
) -> None:
    most = 0

    async def notes(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        most = max(most, server.open)
        await asyncio.sleep(0)
        writer.write(OK)

    server.answers = [notes]
    answers = await asyncio.gather(*(ask(client) for _ in range(50)))
    assert answers == [(200, b"ok")] * 50
    assert most == server.connections == 4


async def test_each_of_many_gets_its_own_answer(server: Server, client: Client) -> None:
    async def repeats(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = server.bodies[-1]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    server.answers = [repeats]
    answers = await asyncio.gather(*(ask(client, b"number %d" % n) for n in range(200)))
    assert answers == [(200, b"number %d" % n) for n in range(200)]


async def test_closing_leaves_nothing_open(server: Server) -> None:
    client = Client(server.url, 4)
    await asyncio.gather(*(ask(client) for _ in range(4)))
    server.answers = [silence]
    under_way = asyncio.create_task(ask(client))
    await server.asked(5)
    await client.close()
    assert server.open == 1 or not under_way.done()
    under_way.cancel()
    with pytest.raises(asyncio.CancelledError):
        await under_way
    await server.alone()
    gc.collect()  # a transport that was left open would warn


async def test_proxies_of_the_environment_are_not_asked(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        for spelled in (name, name.upper()):
            monkeypatch.setenv(spelled, f"http://127.0.0.1:{free_port()}")
    assert await ask(client) == (200, b"ok")


# TLS


@dataclass(frozen=True)
class Certificate:
    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def localhost(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """An authority of its own that vouches for itself as localhost."""
    folder = tmp_path_factory.mktemp("tls")
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    files = ("-keyout", str(made.key), "-out", str(made.certificate))
    subprocess.run(["openssl", "req", "-x509", *kind, *names, *files], check=True, capture_output=True)
    return made


@pytest.fixture
async def secure(localhost: Certificate) -> AsyncIterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(localhost.certificate, localhost.key)
    async with serving(context) as running:
        yield running


@pytest.fixture
def trusted(localhost: Certificate, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SSL_CERT_FILE", str(localhost.certificate))
    yield
    monkeypatch.undo()


@pytest.mark.usefixtures("trusted")
async def test_a_server_with_a_trusted_certificate_is_asked_over_tls(secure: Server) -> None:
    client = Client(secure.url, 2)
    large = bytes(1_000_000)
    assert [await ask(client, large) for _ in range(3)] == [(200, b"ok")] * 3
    assert (secure.connections, secure.bodies) == (1, [large] * 3)
    await client.close()


async def test_a_server_with_a_certificate_of_its_own_making_is_told_nothing(secure: Server) -> None:
    with pytest.raises(NotReachedError, match="CERTIFICATE_VERIFY_FAILED"):
        await ask(Client(secure.url, 1))
    assert secure.bodies == []


@pytest.mark.usefixtures("trusted")
async def test_a_certificate_for_another_name_is_told_nothing(secure: Server) -> None:
    with pytest.raises(NotReachedError, match="CERTIFICATE_VERIFY_FAILED"):
        await ask(Client(secure.url.replace("localhost", "127.0.0.1"), 1))
    assert secure.bodies == []


@pytest.mark.usefixtures("trusted")
async def test_a_connection_that_breaks_under_tls_leaves_nobody_knowing(secure: Server) -> None:
    client = Client(secure.url, 1)
    secure.answers = [reset, says(OK)]
    with pytest.raises(NoAnswerError):
        await ask(client)
    assert await ask(client) == (200, b"ok")
    await client.close()
