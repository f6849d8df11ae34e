"""What a request names twice or in vain is refused and named; nothing is guessed or redirected."""

import asyncio
from typing import Any

import pytest

from services.kit.web.strict_request import SINGLE
from tests.kit.apps import KEY, Live


def wrong_parameters(answer: Any) -> list[list[str]]:
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    return [error["loc"] for error in answer.json()["errors"]]


async def test_an_unknown_query_parameter_is_named_with_those_there_are(service: Live) -> None:
    answer = await service.http.get("/things/5?page=2&pages=3&colour=red")
    assert wrong_parameters(answer) == [["query", "pages"], ["query", "colour"]]
    assert answer.json()["errors"][0]["msg"] == 'unknown parameter; did you mean "page"?'
    assert answer.json()["errors"][1]["msg"] == "unknown parameter; the parameters are page, wait"
    assert (await service.http.get("/things/5?page=2")).json() == {"id": 5, "page": 2}


async def test_a_route_without_parameters_refuses_all(service: Live) -> None:
    answer = await service.http.get("/traceparent?x=1")
    assert wrong_parameters(answer) == [["query", "x"]]
    assert answer.json()["errors"][0]["msg"] == "unknown parameter; there are no parameters"


async def test_without_a_key_nothing_is_said_of_parameters(service: Live) -> None:
    assert (await service.http.get("/guarded/thing?x=1")).status_code == 401
    keyed = {"Authorization": f"Bearer {KEY}"}
    assert wrong_parameters(await service.http.get("/guarded/thing?x=1", headers=keyed)) == [["query", "x"]]


@pytest.mark.parametrize("path", ["/", "/health", "/health/live", "/health/ready", "/metrics", "/docs"])
async def test_a_probe_may_carry_what_its_program_adds(service: Live, path: str) -> None:
    assert (await service.http.get(f"{path}?cache=1")).status_code in (200, 503)


@pytest.mark.parametrize("path", ["/things?source=cluster-7", "/fast?source=cluster-7"])
async def test_a_webhooks_url_may_carry_a_label(service: Live, path: str) -> None:
    assert (await service.http.post(path, json={"name": "a"})).status_code in (200, 202)


@pytest.mark.parametrize("path", ["/things/5/", "/health/", "/guarded/thing/", "/fast/", "/metrics/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_slash_at_the_end_is_another_path(service: Live, method: str, path: str) -> None:
    answer = await service.http.request(method, path, headers={"X-Forwarded-Proto": "https"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("name", sorted(SINGLE - {b"host"}))
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/guarded/thing"), ("POST", "/fast"), ("GET", "/health")]
)
async def test_a_header_that_decides_something_is_sent_once(
    service: Live, method: str, path: str, name: bytes
) -> None:
    first, second = (f"Bearer {KEY}".encode(), b"other")
    for twice in ([(name, first), (name, second)], [(name, second), (name.upper(), first)]):
        answer = await service.http.request(method, path, headers=twice)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        assert name.decode() in answer.json()["detail"]


async def test_the_host_is_sent_once(service: Live) -> None:
    reader, writer = await asyncio.open_connection(*service.running.listener.getsockname()[:2])
    writer.write(b"GET /things/5 HTTP/1.1\r\nHost: one\r\nHost: other\r\nConnection: close\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    assert b"The header host is there more than once" in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_other_headers_may_be_repeated(service: Live) -> None:
    twice = [(b"x-forwarded-for", b"10.0.0.1"), (b"x-forwarded-for", b"10.0.0.2"), (b"accept", b"*/*")]
    assert (await service.http.get("/things/5", headers=twice)).status_code == 200
