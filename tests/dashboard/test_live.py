import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from services.dashboard.app import create_app
from services.dashboard.hub import NOT_LOGGED_IN
from services.dashboard.login import COOKIE, SESSION_SECONDS, open_authenticator
from services.kit.runner import Running, running
from tests import servers
from tests.dashboard.conftest import Settings
from tests.dashboard.suite import PASSWORD, Suite, until
from tests.servers import HANGS, ManualClock


@asynccontextmanager
async def watching(
    up: Running, viewer: httpx.AsyncClient | None, **headers: str
) -> AsyncIterator[ClientConnection]:
    cookie = {"Cookie": f"{COOKIE}={viewer.cookies[COOKIE]}"} if viewer else {}
    url = up.url.replace("http", "ws") + "/api/live"
    async with connect(url, additional_headers=cookie | headers) as page:
        yield page


async def update(page: ClientConnection) -> dict[str, Any]:
    received: dict[str, Any] = json.loads(await asyncio.wait_for(page.recv(), 10))
    return received


async def first(page: ClientConnection, holds: Any) -> dict[str, Any]:
    """Waits for the first update that fulfils a condition."""
    while not holds(received := await update(page)):
        pass
    return received


async def metric(visitor: httpx.AsyncClient, name: str) -> float:
    lines = (await visitor.get("/metrics")).text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


async def test_a_page_starts_from_the_whole(
    dashboard: Running, viewer: httpx.AsyncClient, suite: Suite
) -> None:
    suite.accept("Build finished")
    async with watching(dashboard, viewer) as page:
        whole = await update(page)
    assert set(whole) == {"state", "history", "recent"}


async def test_a_message_is_on_the_page_soon_after_it_came_in(
    dashboard: Running, viewer: httpx.AsyncClient, suite: Suite
) -> None:
    async with watching(dashboard, viewer) as page:
        await update(page)
        message_id = suite.accept("Build finished")
        received = await first(page, lambda received: received.get("recent") and received["recent"]["items"])
        assert received["recent"]["items"][0]["status"] == "queued"
        suite.deliver(message_id)
        received = await first(page, lambda received: received["state"]["flow"]["delivered_total"] == 1)
        assert received["state"]["flow"]["delivery_rate_percent"] == 100.0
        assert received["history"]["t"]


async def test_messages_are_sent_only_when_they_changed(
    dashboard: Running, viewer: httpx.AsyncClient, suite: Suite
) -> None:
    async with watching(dashboard, viewer) as page:
        await first(page, lambda received: received.get("recent") and received["recent"]["items"] == [])
        later = [await update(page) for _ in range(5)]
    assert not any("recent" in received for received in later[1:])
    assert all("state" in received for received in later)


async def test_later_updates_carry_only_the_newest_slices(
    dashboard: Running, viewer: httpx.AsyncClient
) -> None:
    async with watching(dashboard, viewer) as page:
        await update(page)
        received = await first(page, lambda received: received["history"]["t"])
    assert len(received["history"]["t"]) <= 3


async def test_every_page_is_told_the_same(
    dashboard: Running, viewer: httpx.AsyncClient, suite: Suite
) -> None:
    async with watching(dashboard, viewer) as one, watching(dashboard, viewer) as other:
        suite.accept("Build finished")
        for page in (one, other):
            received = await first(page, lambda received: received["state"]["flow"]["accepted_total"] == 1)
            assert received["state"]["flow"]["queue_depth"] == 1


async def test_who_is_not_logged_in_is_told_so(dashboard: Running) -> None:
    async with watching(dashboard, None) as page:
        with pytest.raises(ConnectionClosed) as closed:
            await page.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == NOT_LOGGED_IN


async def test_another_sites_page_cannot_listen(dashboard: Running, viewer: httpx.AsyncClient) -> None:
    for origin in ("https://evil.example", "null"):
        with pytest.raises(InvalidStatus) as refused:
            async with watching(dashboard, viewer, Origin=origin):
                pass
        assert refused.value.response.status_code == 403


async def test_our_own_page_can(dashboard: Running, viewer: httpx.AsyncClient) -> None:
    async with watching(dashboard, viewer, Origin=dashboard.url) as page:
        assert "state" in await update(page)


async def test_without_a_login_another_site_still_cannot_listen(
    suite: Suite, make_settings: Settings
) -> None:
    async with running(create_app, make_settings(suite.url, auth_enabled=False)) as up:
        async with watching(up, None) as page:
            assert "state" in await update(page)
        with pytest.raises(InvalidStatus):
            async with watching(up, None, Origin="https://evil.example"):
                pass


async def test_logging_out_closes_the_pages_of_that_session(
    dashboard: Running, viewer: httpx.AsyncClient
) -> None:
    async with watching(dashboard, viewer) as page:
        await update(page)
        await viewer.post("/logout")
        with pytest.raises(ConnectionClosed) as closed:
            await first(page, lambda _: False)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == NOT_LOGGED_IN


async def closing(page: ClientConnection) -> int:
    """Waits until the page is disconnected; returns the close code."""
    with pytest.raises(ConnectionClosed) as closed:
        await first(page, lambda _: False)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


async def test_logging_out_closes_the_page_before_its_next_update(
    suite: Suite, make_settings: Settings
) -> None:
    async with (
        running(create_app, make_settings(suite.url, update_interval=60_000)) as up,
        servers.http(up.url) as viewer,
    ):
        await viewer.post("/login", data={"username": "admin", "password": PASSWORD})
        async with watching(up, viewer) as page:
            await update(page)
            await viewer.post("/logout")
            assert await closing(page) == NOT_LOGGED_IN


async def test_a_page_is_closed_when_its_session_expires(suite: Suite, make_settings: Settings) -> None:
    settings = make_settings(suite.url, update_interval=60_000)
    earlier = ManualClock(time.time() - SESSION_SECONDS + 3)
    cookie, session = open_authenticator(settings, earlier).open_session()
    async with running(create_app, settings) as up, watching(up, None, Cookie=f"{COOKIE}={cookie}") as page:
        await update(page)
        assert await closing(page) == NOT_LOGGED_IN
    assert time.time() >= session.expires


async def test_pages_without_a_login_that_do_not_close_keep_no_other_out(
    suite: Suite, make_settings: Settings
) -> None:
    async with running(create_app, make_settings(suite.url, max_connections=10)) as up:
        strangers = [stalled_page(up, None) for _ in range(30)]
        async with servers.http(up.url) as viewer:
            await viewer.post("/login", data={"username": "admin", "password": PASSWORD})
            async with watching(up, viewer) as page:
                assert "state" in await update(page)
                assert "state" in await update(page)
        for stranger in strangers:
            stranger.close()


async def test_pages_are_counted(dashboard: Running, viewer: httpx.AsyncClient) -> None:
    assert await metric(viewer, "websocket_connections_total") == 0
    async with watching(dashboard, viewer) as page:
        await update(page)
        await update(page)
        assert await metric(viewer, "websocket_connections_total") == 1
        assert await metric(viewer, "websocket_messages_total") >= 1

    async def all_left() -> bool:
        return await metric(viewer, "websocket_connections_total") == 0

    await until(all_left)
    assert await metric(viewer, "websocket_errors_total") == 0


async def test_what_a_page_says_changes_nothing(dashboard: Running, viewer: httpx.AsyncClient) -> None:
    for text in ("hello", b"\x00\xff", "x" * 100_000, "{}"):
        async with watching(dashboard, viewer) as page:
            await update(page)
            await page.send(text)
            await update(page)
    assert await metric(viewer, "websocket_errors_total") == 0


def stalled_page(up: Running, viewer: httpx.AsyncClient | None) -> socket.socket:
    """Opens a page that sends the handshake and then reads nothing, with a login or without."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, port = up.url.removeprefix("http://").split(":")
    connection.connect((host, int(port)))
    lines = [
        "GET /api/live HTTP/1.1",
        f"Host: {host}:{port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *([f"Cookie: {COOKIE}={viewer.cookies[COOKIE]}"] if viewer else []),
    ]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return connection


async def test_a_page_that_reads_nothing_is_dropped_and_the_others_go_on(
    dashboard: Running, viewer: httpx.AsyncClient, suite: Suite
) -> None:
    # Large updates soon fill the buffers of the connection.
    noise = {f"part_{number}": {"status": "healthy", "note": "x" * 20_000} for number in range(20)}
    suite.health["bridge"]["components"] = noise
    async with watching(dashboard, viewer) as page:
        await first(page, lambda received: len(received["state"]["services"][0]["parts"]) == 20)
        connection = stalled_page(dashboard, viewer)
        async with asyncio.timeout(60):
            while await metric(viewer, "websocket_errors_total") == 0:
                await update(page)
            while await metric(viewer, "websocket_connections_total") != 1:
                await update(page)
        connection.close()
        assert "state" in await update(page)


async def test_the_service_stops_at_once_with_pages_open(suite: Suite, make_settings: Settings) -> None:
    async with (
        asyncio.timeout(HANGS),
        running(create_app, make_settings(suite.url, auth_enabled=False)) as up,
    ):
        page = await connect(up.url.replace("http", "ws") + "/api/live")
        await update(page)
    with pytest.raises(ConnectionClosed):
        await first(page, lambda _: False)
    await until(lambda: page.close_code is not None)
