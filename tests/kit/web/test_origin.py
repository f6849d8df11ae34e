"""Requests that a browser sends for a page of another website."""

from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from services.kit.web.origin import OwnPagesOnly, is_own_host

HOST = "127.0.0.1:8083"


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("open")(scope, receive, send)


async def answer(method: str = "GET", host: str = HOST, **headers: str) -> int:
    transport = httpx.ASGITransport(OwnPagesOnly(page, ["Sandbox.Example.org"]))
    named = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8083") as client:
        return (await client.request(method, "/control/reset", headers=named)).status_code


@pytest.mark.parametrize(
    "headers",
    [
        {},  # curl, tests, other services
        {"origin": f"http://{HOST}", "sec_fetch_site": "same-origin"},
        {"origin": f"http://{HOST}"},
        {"sec_fetch_site": "none"},  # typed by the user
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_programs_and_our_own_page_may_do_everything(method: str, headers: dict[str, str]) -> None:
    assert await answer(method, **headers) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://localhost:8083"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_another_sites_page_may_do_nothing(method: str, headers: dict[str, str]) -> None:
    assert await answer(method, **headers) == 403


async def test_another_site_may_link_to_us_and_no_more() -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert await answer("GET", **link) == 200
    assert await answer("POST", **link, origin="https://evil.example") == 403


async def test_a_name_that_a_website_can_have_is_refused() -> None:
    """A website can resolve its own name to 127.0.0.1, and then read what its page asks for."""
    assert await answer(host="evil.example:8083") == 421
    assert await answer("POST", host="evil.example:8083", origin="http://evil.example:8083") == 421
    assert await answer(host="sandbox.example.org") == 200


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("localhost", True),
        ("LOCALHOST:8083", True),
        ("sandbox.localhost:8083", True),
        ("telegram-sandbox:8083", True),
        ("127.0.0.1", True),
        ("192.168.1.5:8083", True),
        ("[::1]:8083", True),
        ("named.example", True),
        ("named.example.:80", True),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example", False),
        ("[", False),
        ("evil.example:port", False),
    ],
)
def test_which_hosts_are_ours(host: str, own: bool) -> None:
    assert is_own_host(host, {"named.example"}) is own


async def test_a_websocket_of_another_site_is_closed() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    headers = [(b"host", HOST.encode()), (b"origin", b"https://evil.example")]
    await OwnPagesOnly(page)({"type": "websocket", "path": "/", "headers": headers}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
