"""Faults on real sockets: what a client sees, and what is in the chat."""

import asyncio

import aiohttp
import httpx
import pytest
from prometheus_client import CollectorRegistry
from telegram import Bot
from telegram.error import BadRequest, NetworkError, RetryAfter

from services.telegram_sandbox.bot_api.server import BotApi
from services.telegram_sandbox.metrics import SandboxMetrics
from tests.telegram_sandbox.conftest import ADA, GRACE, SandboxServer, soon, until

SEND = "/bot1000000001:sandbox-token-for-local-use-only/sendMessage"
REQUEST = (
    b"POST /bot1000000001:sandbox-token-for-local-use-only/sendMessage HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 19\r\n\r\nchat_id=1001&text=x"
)


async def raw(server: SandboxServer) -> bytes:
    """Returns everything that the server sends on a connection before it closes it."""
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(REQUEST)
        return bytes(await soon(reader.read()))
    finally:
        writer.close()


async def texts(server: SandboxServer, chat_id: int = ADA) -> list[str]:
    return [m["message"]["text"] for m in (await server.get(f"/api/chats/{chat_id}/messages"))["messages"]]


async def test_the_next_answers_are_those_of_the_fault(server: SandboxServer, bot: Bot) -> None:
    flood = {
        "status": 429,
        "description": "Too Many Requests: retry after 5",
        "parameters": {"retry_after": 5},
    }
    await server.control("/faults", {"kind": "answer", "times": 2, **flood})
    for _ in range(2):
        with pytest.raises(RetryAfter):
            await bot.send_message(ADA, "x")
    await bot.send_message(ADA, "delivered")
    assert await texts(server) == ["delivered"]


async def test_a_429_of_a_fault_has_the_header_too(server: SandboxServer) -> None:
    await server.control(
        "/faults", {"kind": "answer", "status": 429, "description": "x", "parameters": {"retry_after": 7}}
    )
    async with server.http.post(server.url + SEND, json={"chat_id": ADA, "text": "x"}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")


async def test_a_raw_answer_is_sent_unchanged(server: SandboxServer, bot: Bot) -> None:
    await server.control("/faults", {"kind": "raw", "status": 502, "body": "<html>Bad Gateway</html>"})
    async with server.http.post(server.url + SEND, json={"chat_id": ADA, "text": "x"}) as answer:
        assert (answer.status, answer.content_type) == (502, "text/html")
        assert await answer.text() == "<html>Bad Gateway</html>"


async def test_accept_then_drop_delivers_and_sends_no_answer(server: SandboxServer) -> None:
    await server.control("/faults", {"kind": "close", "deliver": True})
    assert await raw(server) == b""
    assert await texts(server) == ["x"]
    (entry,) = await server.log(method="sendMessage")
    assert (entry["delivered"], entry["answer"], entry["status"]) == (True, "dropped", 200)


async def test_a_dropped_request_without_deliver_leaves_the_chat_empty(
    server: SandboxServer, bot: Bot
) -> None:
    await server.control("/faults", {"kind": "close"})
    with pytest.raises(NetworkError) as refused:
        await bot.send_message(ADA, "x")
    assert not isinstance(refused.value, BadRequest)
    assert await texts(server) == []
    (entry,) = await server.log(method="sendMessage")
    assert (entry["delivered"], entry["answer"], entry["fault"]) == (False, "dropped", "close")


async def test_a_reset_resets_the_connection(server: SandboxServer) -> None:
    await server.control("/faults", {"kind": "reset"})
    with pytest.raises(ConnectionResetError):
        await raw(server)


async def test_the_service_continues_after_dropped_connections(server: SandboxServer, bot: Bot) -> None:
    await server.control("/faults", {"kind": "reset", "times": 20})
    for _ in range(20):
        with pytest.raises((NetworkError, ConnectionResetError)):
            await bot.send_message(ADA, "x")
    await bot.send_message(ADA, "still server")


async def test_a_hang_closes_after_its_seconds(server: SandboxServer) -> None:
    await server.control("/faults", {"kind": "hang", "seconds": 30, "deliver": True})
    hanging = asyncio.create_task(raw(server))
    await until(lambda: b'"answer":"dropped"' in b"".join(server.sandbox.event_log.read(0, 100)))
    await server.advance(29)
    assert not hanging.done()
    await server.advance(1)
    assert await soon(hanging) == b""


async def test_a_hang_with_deliver_times_out_although_the_message_is_delivered(
    server: SandboxServer,
) -> None:
    await server.control("/faults", {"kind": "hang", "seconds": 3600, "deliver": True})
    quick = aiohttp.ClientTimeout(total=0.2)
    with pytest.raises(TimeoutError):
        await server.http.post(server.url + SEND, json={"chat_id": ADA, "text": "x"}, timeout=quick)
    assert await texts(server) == ["x"]


async def test_latency_only_delays_the_answer(server: SandboxServer) -> None:
    await server.control("/faults", {"kind": "latency", "seconds": 5})
    slow = asyncio.create_task(server.result("sendMessage", chat_id=ADA, text="slow"))
    await until(lambda: not server.sandbox.faults.rules)
    assert await server.result("sendMessage", chat_id=GRACE, text="quick")
    assert not slow.done()
    await server.advance(5)
    assert (await soon(slow))["text"] == "slow"


async def test_a_fault_may_apply_to_one_method_and_one_chat(server: SandboxServer, bot: Bot) -> None:
    only = {"kind": "answer", "status": 500, "methods": ["sendMessage"], "chat_ids": [GRACE], "times": None}
    await server.control("/faults", only)
    await bot.get_me()
    await bot.send_message(ADA, "x")
    with pytest.raises(NetworkError):
        await bot.send_message(GRACE, "x")
    await server.control("/faults", verb="DELETE")
    await bot.send_message(GRACE, "x")


async def test_an_error_under_a_fault_is_still_logged(server: SandboxServer) -> None:
    await server.control("/faults", {"kind": "raw", "status": 502, "deliver": True})
    async with server.http.post(server.url + SEND, json={"chat_id": 5, "text": "x"}) as answer:
        assert answer.status == 502
    (entry,) = await server.log(method="sendMessage")
    assert (entry["status"], entry["answer"], entry["delivered"]) == (400, "replaced", False)


async def test_without_a_socket_a_drop_raises_a_reset_error(server: SandboxServer) -> None:
    await server.control("/faults", {"kind": "close"})
    metrics = SandboxMetrics(CollectorRegistry(), ("sendMessage",))
    app = BotApi(lambda *_: asyncio.sleep(0), server.sandbox, metrics)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sandbox") as client:
        with pytest.raises(ConnectionResetError):
            await client.post(SEND, json={"chat_id": ADA, "text": "x"})


async def test_hundreds_of_sends_at_once_are_answered(server: SandboxServer) -> None:
    sends = (server.result("sendMessage", chat_id=ADA, text=str(n)) for n in range(300))
    await asyncio.gather(*sends)
    assert len(await server.log(method="sendMessage", answer="given")) == 300
