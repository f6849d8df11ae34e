"""Where a call may go: no private address, however it is spelled."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from services.bridge.webhooks.destinations import Destinations, GuardedSockets
from tests.servers import serving

PUBLIC = Destinations()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/x",
        "file:///etc/passwd",
        "gopher://example.com",
        "example.com/hook",
        "http://",
        "http:///hook",
        "http://user:secret@example.com/",
        "http://exa mple.com/",
        "http://example.com/\r\nX: y",
        "http://example.com:99999/",
        "http://[::1",
        "http://127.0.0.1/",
        "http://127.1.2.3:8080/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://172.16.0.1/",
        "http://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://[::1]/",
        "http://[::]/",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::a00:1]/",
        "http://[2002:a00:1::]/",
        "http://[::127.0.0.1]/",
        "http://[::ffff:0:127.0.0.1]/",
        "http://[64:ff9b:1::a00:1]/",
        "http://[fec0::1]/",
        "http://192.0.0.8/",
        "http://127\u30020\u30020\u30021/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://\u2460\u2461\u2466.0.0.1/",
        "http://\uff11\uff16\uff19.254.169.254/latest/meta-data/",
        "http://2130706433/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://example.com\\@127.0.0.1/",
        "http://example.com/" + "x" * 2_100,
    ],
)
def test_these_are_refused(url: str) -> None:
    assert PUBLIC.refusal(url) is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "https://example.com:8443/x?y=z",
        "http://93.184.216.34/",
        "https://[2606:4700::1111]/",
    ],
)
def test_these_are_called(url: str) -> None:
    assert PUBLIC.refusal(url) is None


def test_private_addresses_are_called_where_the_setting_says_so_but_never_the_metadata_service() -> None:
    private = Destinations(private=True)
    assert private.refusal("http://10.0.0.1/") is None
    assert private.refusal("http://127.0.0.1/") is None
    assert private.refusal("http://169.254.169.254/") is not None


def test_with_the_sandbox_only_loopback_is_called_besides() -> None:
    sandbox = Destinations(loopback=True)
    assert sandbox.refusal("http://127.0.0.1:9000/") is None
    assert sandbox.refusal("http://[::1]/") is None
    assert sandbox.refusal("http://10.0.0.1/") is not None


@asynccontextmanager
async def server() -> AsyncIterator[tuple[int, list[str]]]:
    """On this machine: its port, and the hosts that it was called as."""
    called: list[str] = []

    async def take(request: web.Request) -> web.Response:
        called.append(request.host)
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    async with serving(app) as url:
        yield int(url.rpartition(":")[2]), called


def calling(allowed: Destinations) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=GuardedSockets(allowed)))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "127\u30020\u30020\u30021",
        "\uff11\uff12\uff17.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "127.0.0.1.",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ],
)
async def test_no_connection_is_made_to_this_machine_however_it_is_spelled(host: str) -> None:
    """Without asking for the refusal first: a name is not known to lead here before it is resolved."""
    async with server() as (port, called), calling(PUBLIC) as session:
        with pytest.raises((aiohttp.ClientError, OSError)):
            await session.post(f"http://{host}:{port}/")
        assert called == []


async def test_a_name_that_leads_to_loopback_is_called_where_that_is_allowed() -> None:
    async with server() as (port, called), calling(Destinations(loopback=True)) as session:
        async with session.post(f"http://localhost:{port}/") as answer:
            assert answer.status == 200
        assert called == [f"localhost:{port}"]


async def test_who_is_refused_is_told_why() -> None:
    async with server() as (port, _), calling(PUBLIC) as session:
        with pytest.raises(aiohttp.ClientConnectorError, match="WEBHOOK_ALLOW_PRIVATE"):
            await session.post(f"http://localhost:{port}/")
