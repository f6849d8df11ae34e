"""Calls of the Bot API through real proxies on loopback."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from telegram.error import TelegramError

from services.kit.clock import SystemClock
from services.outbox.messages import Outcome, Reason, Rendered, Result, Text
from services.outbox.telegram import connections, http_request, proxy
from services.outbox.telegram.bot_api import make_bot
from services.outbox.telegram.errors import NotReachedError
from services.outbox.telegram.proxy import Proxy
from services.outbox.telegram.sender import Sender
from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests import proxies
from tests.outbox.making import ADA, claimed
from tests.outbox.telegram.certificates import Certificate
from tests.outbox.telegram.raw_server import Server, writes
from tests.ports import free_port
from tests.proxies import ProxyServer
from tests.servers import Sandbox

PASSWORD = "hunter2 @home"
CREDENTIALS = f"ada:{PASSWORD}"
ENCODED = "ada:hunter2%20%40home"
HANDSHAKES = {
    "http": proxies.http_connect,
    "https": proxies.http_connect,
    "socks5": proxies.socks5,
    "socks5h": proxies.socks5,
}
#: Plain schemes; ``https`` needs a certificate that is trusted.
PLAIN = ["http", "socks5", "socks5h"]


async def sent_through(url: str, sandbox: Sandbox, texts: int = 1) -> Result:
    """What comes of the last of some messages."""
    bot = make_bot(DEFAULT_TOKEN, sandbox.url.replace("127.0.0.1", "localhost"), 2, proxy=proxy.parse(url))
    async with Sender(bot, SystemClock()) as sender:
        results = [
            await sender.send(claimed(), Rendered((Text(f"text {number}"),))) for number in range(texts)
        ]
    return results[-1]


@pytest.mark.parametrize("credentials", ["", CREDENTIALS], ids=["open", "password"])
@pytest.mark.parametrize("scheme", PLAIN)
async def test_messages_reach_telegram_through_the_proxy(
    sandbox: Sandbox, scheme: str, credentials: str
) -> None:
    async with proxies.running(HANDSHAKES[scheme], credentials) as running:
        own = f"{ENCODED}@" if credentials else ""
        result = await sent_through(f"{scheme}://{own}127.0.0.1:{running.port}", sandbox, texts=3)
        assert result.outcome is Outcome.SENT
        assert await sandbox.texts(ADA) == ["text 0", "text 1", "text 2"]
        # By name: the proxy looks it up. One tunnel: connections are kept behind a proxy, too.
        assert running.opened == [f"localhost:{sandbox.url.rpartition(':')[2]}"]


@pytest.mark.parametrize("scheme", PLAIN)
async def test_with_a_wrong_password_nothing_is_sent_and_the_reason_is_named_without_it(
    sandbox: Sandbox, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with proxies.running(HANDSHAKES[scheme], "ada:another") as running:
        result = await sent_through(f"{scheme}://{ENCODED}@127.0.0.1:{running.port}", sandbox)
    assert (result.outcome, result.reason) == (Outcome.NOT_SENT, Reason.CONNECT_FAILED)
    words = {"http": "407 Proxy Authentication Required", "socks5": "authentication failure"}
    assert words[scheme.removesuffix("h")] in result.detail
    assert f"proxy {scheme.removesuffix('h')}://127.0.0.1:{running.port}: " in result.detail
    assert (running.admitted, running.opened) == ([False], [])
    assert await sandbox.texts(ADA) == []
    for secret in (PASSWORD, "hunter2", "aHVudGVyMi"):
        assert secret not in caplog.text + result.detail


@pytest.mark.parametrize("scheme", PLAIN)
async def test_a_proxy_that_wants_a_password_and_gets_none_sends_nothing(
    sandbox: Sandbox, scheme: str
) -> None:
    async with proxies.running(HANDSHAKES[scheme], CREDENTIALS) as running:
        result = await sent_through(f"{scheme}://127.0.0.1:{running.port}", sandbox)
        assert (result.outcome, result.reason) == (Outcome.NOT_SENT, Reason.CONNECT_FAILED)
        assert running.opened == []


@pytest.mark.parametrize("scheme", PLAIN)
async def test_a_proxy_that_is_down_sends_nothing(sandbox: Sandbox, scheme: str) -> None:
    result = await sent_through(f"{scheme}://{ENCODED}@127.0.0.1:{free_port()}", sandbox)
    assert (result.outcome, result.reason) == (Outcome.NOT_SENT, Reason.CONNECT_FAILED)
    assert "Couldn't connect to proxy" in result.detail
    assert PASSWORD not in result.detail


REFUSALS = [
    (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "it answered 502 Bad Gateway"),
    (b"HTTP/1.1 403 hunter2\r\n\r\n", "it answered 403 Forbidden"),
    (b"HTTP/1.1 799 hunter2\r\n\r\n", "it answered 799"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "it does not answer as an HTTP proxy"),
]


@pytest.mark.parametrize(("refusal", "words"), REFUSALS, ids=["502", "403", "799", "no-http"])
async def test_a_proxy_that_refuses_the_destination_sends_nothing(
    sandbox: Sandbox, refusal: bytes, words: str
) -> None:
    async with proxies.running(proxies.http_connect) as running:
        running.refusal = refusal
        result = await sent_through(f"http://127.0.0.1:{running.port}", sandbox)
    assert (result.outcome, result.reason) == (Outcome.NOT_SENT, Reason.CONNECT_FAILED)
    assert result.detail.endswith(words)


async def test_a_socks_proxy_that_does_not_reach_the_destination_sends_nothing(sandbox: Sandbox) -> None:
    async with proxies.running(proxies.socks5) as running:
        running.refusal = b"refused"
        result = await sent_through(f"socks5://127.0.0.1:{running.port}", sandbox)
    assert (result.outcome, result.reason) == (Outcome.NOT_SENT, Reason.CONNECT_FAILED)
    assert result.detail.endswith("Connection refused by destination host")


async def _closes(_: ProxyServer, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def _is_silent(_: ProxyServer, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize("handshake", [_closes, _is_silent], ids=["closes", "silent"])
@pytest.mark.parametrize("scheme", PLAIN)
async def test_a_proxy_that_breaks_off_or_says_nothing_sends_nothing(
    sandbox: Sandbox, scheme: str, handshake: proxies.Handshake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (http_request, connections):
        monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
    async with proxies.running(handshake) as running:
        result = await sent_through(f"{scheme}://127.0.0.1:{running.port}", sandbox)
    assert (result.outcome, result.reason) == (Outcome.NOT_SENT, Reason.CONNECT_FAILED)


async def test_a_connection_that_breaks_behind_the_proxy_leaves_the_outcome_unknown(sandbox: Sandbox) -> None:
    async with proxies.running(proxies.socks5) as running:
        await sandbox.faults({"kind": "close"})
        result = await sent_through(f"socks5://127.0.0.1:{running.port}", sandbox)
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, Reason.NO_ANSWER)


# TLS


ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n{"ok":true,"result":true}'


@asynccontextmanager
async def _proxy(scheme: str, localhost: Certificate) -> AsyncIterator[str]:
    tls = localhost.context() if scheme == "https" else None
    async with proxies.running(HANDSHAKES[scheme], CREDENTIALS, tls) as running:
        yield f"{scheme}://{ENCODED}@localhost:{running.port}"


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("scheme", HANDSHAKES)
async def test_a_server_behind_the_proxy_is_called_over_tls(
    secure: Server, localhost: Certificate, scheme: str
) -> None:
    secure.answers = [writes(ANSWER)]
    async with (
        _proxy(scheme, localhost) as url,
        make_bot("1:token", secure.url, 1, proxy=proxy.parse(url)) as bot,
    ):
        large = {"text": "x" * 300_000}
        assert [await bot.call("sendMessage", large) for _ in range(3)] == [True] * 3
    assert secure.connections == 1
    assert b"authorization" not in secure.heads[0].lower()


@pytest.mark.parametrize("scheme", HANDSHAKES)
async def test_a_certificate_that_is_not_trusted_gets_no_request_through_a_proxy_either(
    secure: Server, localhost: Certificate, scheme: str
) -> None:
    async with (
        _proxy(scheme, localhost) as url,
        make_bot("1:token", secure.url, 1, proxy=proxy.parse(url)) as bot,
    ):
        with pytest.raises(NotReachedError, match="CERTIFICATE_VERIFY_FAILED"):
            await bot.call("getMe", {})
    assert secure.bodies == []


@pytest.mark.usefixtures("trusted")
async def test_a_server_without_tls_is_called_through_an_https_proxy(
    sandbox: Sandbox, localhost: Certificate
) -> None:
    async with _proxy("https", localhost) as url:
        assert (await sent_through(url, sandbox)).outcome is Outcome.SENT


# The URL


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("http://proxy.example.org:3128", Proxy("http", "proxy.example.org", 3128)),
        ("https://proxy.example.org:443/", Proxy("https", "proxy.example.org", 443)),
        (f"socks5://{ENCODED}@10.0.0.1:1080", Proxy("socks5", "10.0.0.1", 1080, "ada", PASSWORD)),
        ("SOCKS5H://[::1]:1080", Proxy("socks5", "::1", 1080)),
    ],
)
def test_a_url_is_parsed(url: str, parsed: Proxy) -> None:
    assert proxy.parse(url) == parsed
    assert "hunter2" not in f"{parsed} {parsed!r}"


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("hunter2", "scheme"),
        ("ada:hunter2@host:1080", "scheme"),
        ("socks4://ada:hunter2@host:1080", "scheme"),
        ("socks5://ada:hunter2@host", "port"),
        ("socks5://ada:hunter2@:1080", "host"),
        ("socks5://ada:hunter2@host:0", "port"),
        ("socks5://ada:hunter2@host:99999", "not a URL"),
        ("socks5://ada:hunter2/x@host:1080", "not a URL"),
        ("socks5://ada:hunter2#x@host:1080", "not a URL"),
        ("http://[hunter2", "not a URL"),
        ("http://ada:hunter2@host:3128/path", "after the port|follow the port"),
        ("http://ada:hunter2@host:3128?x", "follow the port"),
        ("http://hunter2@host:3128", "user and a password"),
        ("http://:hunter2@host:3128", "user and a password"),
        ("http://a%3Ab:hunter2@host:3128", "colon"),
        ("http://ada:hunter2%C3%A9@host:3128", "ASCII"),
        ("http://ada:hunter2%0D%0AX@host:3128", "ASCII"),
        (f"http://ada:{'hunter2' * 40}@host:3128", "at most 255"),
    ],
)
def test_a_malformed_url_is_refused_with_the_remedy_and_without_the_password(url: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as refused:
        proxy.parse(url)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_every_failure_to_connect_is_one_of_the_library_s_errors() -> None:
    assert issubclass(NotReachedError, TelegramError)
