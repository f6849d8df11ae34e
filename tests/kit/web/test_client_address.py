"""Behind a proxy: whose address counts, and who may say so."""

from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from services.kit.settings import StartError, load
from services.kit.web.client_address import ForwardedHeaders, Networks, client_address
from tests.kit.apps import KitSettings, live
from tests.kit.conftest import Lines

PROXY = "192.0.2.1"


def request(*forwarded: str, peer: str | None = PROXY, **more: Any) -> Scope:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return {"type": "http", "client": (peer, 1) if peer else None, "headers": headers, **more}


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        ([], ["198.51.100.7"], PROXY),  # anybody can write that
        (["192.0.2.9"], ["198.51.100.7"], PROXY),
        ([PROXY], ["198.51.100.7"], "198.51.100.7"),
        ([PROXY], ["203.0.113.1, 198.51.100.7"], "198.51.100.7"),
        ([PROXY], ["203.0.113.1", "198.51.100.7"], "198.51.100.7"),
        (["192.0.2.0/24"], ["203.0.113.1, 198.51.100.7, 192.0.2.8"], "198.51.100.7"),
        (["192.0.2.0/24"], ["192.0.2.7, 192.0.2.8"], PROXY),
        (["*"], ["203.0.113.1, 198.51.100.7"], "198.51.100.7"),
        (["*"], [], PROXY),
        ([PROXY], ["", " , "], PROXY),
        ([PROXY], ["198.51.100.7:4711"], "198.51.100.7"),
        ([PROXY], ["[2001:db8::7]:4711"], "2001:db8::7"),
        ([PROXY], ["2001:db8::7"], "2001:db8::7"),
        ([PROXY], ["nonsense"], "nonsense"),
    ],
)
def test_an_address_is_believed_from_a_named_proxy_alone(
    proxies: list[str], forwarded: list[str], address: str
) -> None:
    assert client_address(request(*forwarded), Networks(proxies)) == address


def test_a_mapped_address_is_the_ipv4_address() -> None:
    assert (
        client_address(request("198.51.100.7", peer=f"::ffff:{PROXY}"), Networks([PROXY])) == "198.51.100.7"
    )


def test_a_connection_without_an_address_is_unknown() -> None:
    assert client_address(request("198.51.100.7", peer=None), Networks([PROXY])) == "unknown"


@pytest.mark.parametrize(
    ("kind", "peer", "proto", "scheme"),
    [
        ("http", PROXY, b"https", "https"),
        ("websocket", PROXY, b"https", "wss"),
        ("http", PROXY, b"http, https", "https"),
        ("http", PROXY, b"javascript", "http"),
        ("http", "198.51.100.1", b"https", "http"),
    ],
)
async def test_the_scheme_is_believed_from_a_named_proxy_alone(
    kind: str, peer: str, proto: bytes, scheme: str
) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope)

    async def nothing(*_: Any) -> Any:
        return None

    scope = request("198.51.100.7", peer=peer, scheme="http" if kind == "http" else "ws")
    scope["type"] = kind
    scope["headers"].append((b"x-forwarded-proto", proto))
    await ForwardedHeaders(app, Networks([PROXY]))(scope, nothing, nothing)
    assert seen[0]["scheme"] == scheme
    assert seen[0]["client"][0] == ("198.51.100.7" if peer == PROXY else peer)


@pytest.mark.parametrize(
    ("named", "address"), [((), "127.0.0.1"), (("127.0.0.0/8",), "198.51.100.7"), (("*",), "198.51.100.7")]
)
async def test_the_log_names_the_client_of_a_named_proxy(
    tmp_path: Path, lines: Lines, named: tuple[str, ...], address: str
) -> None:
    forwarded = {"x-forwarded-for": "198.51.100.7"}
    async with live(tmp_path, forwarded_allow_ips=named) as service:
        await service.http.get("/guarded/thing", headers=forwarded)
        await service.http.get("/guarded/thing", headers=forwarded)
    assert {line["address"] for line in lines.all if line["event"] == "login_failed"} == {address}


def test_a_proxy_that_is_no_address_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.0/8, gateway")
    with pytest.raises(StartError) as caught:
        load(KitSettings)
    assert (
        str(caught.value) == "FORWARDED_ALLOW_IPS: gateway is no IP address and no network such as 10.0.0.0/8"
    )
