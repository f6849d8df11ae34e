"""Faults on real sockets: what a client sees, and what the chat has got."""

import asyncio
import time

import aiohttp
import httpx
import pytest
from prometheus_client import CollectorRegistry
from telegram import Bot
from telegram.error import BadRequest, NetworkError, RetryAfter

from services.telegram_sandbox.api import BotApi
from services.telegram_sandbox.metrics import SandboxMetrics
from tests.telegram_sandbox.conftest import ADA, GRACE, Here, soon, until

SEND = "/bot1000000001:sandbox-token-for-local-use-only/sendMessage"
REQUEST = (
    b"POST /bot1000000001:sandbox-token-for-local-use-only/sendMessage HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 19\r\n\r\nchat_id=1001&text=x"
)


async def raw(here: Here) -> bytes:
    """Everything that the server sends on a bare connection before it ends it."""
    port = int(here.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(REQUEST)
        return bytes(await soon(reader.read()))
    finally:
        writer.close()


async def texts(here: Here, chat_id: int = ADA) -> list[str]:
    return [m["message"]["text"] for m in (await here.get(f"/api/chats/{chat_id}/messages"))["messages"]]


async def test_the_next_answers_are_what_was_asked_for(here: Here, bot: Bot) -> None:
    flood = {
        "status": 429,
        "description": "Too Many Requests: retry after 5",
        "parameters": {"retry_after": 5},
    }
    await here.control("/faults", {"kind": "answer", "times": 2, **flood})
    for _ in range(2):
        with pytest.raises(RetryAfter):
            await bot.send_message(ADA, "x")
    await bot.send_message(ADA, "delivered")
    assert await texts(here) == ["delivered"]


async def test_a_429_asked_for_carries_the_header_too(here: Here) -> None:
    await here.control(
        "/faults", {"kind": "answer", "status": 429, "description": "x", "parameters": {"retry_after": 7}}
    )
    async with here.http.post(here.url + SEND, json={"chat_id": ADA, "text": "x"}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")


async def test_a_proxy_s_html_is_given_as_it_is(here: Here, bot: Bot) -> None:
    await here.control("/faults", {"kind": "raw", "status": 502, "body": "<html>Bad Gateway</html>"})
    async with here.http.post(here.url + SEND, json={"chat_id": ADA, "text": "x"}) as answer:
        assert (answer.status, answer.content_type) == (502, "text/html")
        assert await answer.text() == "<html>Bad Gateway</html>"


async def test_accept_then_drop_delivers_and_gives_no_byte_of_an_answer(here: Here) -> None:
    await here.control("/faults", {"kind": "close", "deliver": True})
    assert await raw(here) == b""
    assert await texts(here) == ["x"]
    (entry,) = await here.log(method="sendMessage")
    assert (entry["delivered"], entry["answer"], entry["status"]) == (True, "dropped", 200)


async def test_a_dropped_request_without_delivery_leaves_the_chat_empty(here: Here, bot: Bot) -> None:
    await here.control("/faults", {"kind": "close"})
    with pytest.raises(NetworkError) as refused:
        await bot.send_message(ADA, "x")
    assert not isinstance(refused.value, BadRequest)
    assert await texts(here) == []
    (entry,) = await here.log(method="sendMessage")
    assert (entry["delivered"], entry["answer"], entry["fault"]) == (False, "dropped", "close")


async def test_a_reset_is_a_reset(here: Here) -> None:
    await here.control("/faults", {"kind": "reset"})
    with pytest.raises(ConnectionResetError):
        await raw(here)


async def test_the_service_goes_on_after_dropped_connections(here: Here, bot: Bot) -> None:
    await here.control("/faults", {"kind": "reset", "times": 20})
    for _ in range(20):
        with pytest.raises((NetworkError, ConnectionResetError)):
            await bot.send_message(ADA, "x")
    await bot.send_message(ADA, "still here")


async def test_a_hang_lasts_as_long_as_it_says_and_then_closes(here: Here) -> None:
    await here.control("/faults", {"kind": "hang", "seconds": 30, "deliver": True})
    hanging = asyncio.create_task(raw(here))
    await until(lambda: b'"answer":"dropped"' in b"".join(here.sandbox.journal.read(0, 100)))
    await here.advance(29)
    assert not hanging.done()
    await here.advance(1)
    assert await soon(hanging) == b""


async def test_a_hanging_answer_runs_into_the_client_s_timeout_though_the_message_is_there(
    here: Here,
) -> None:
    await here.control("/faults", {"kind": "hang", "seconds": 3600, "deliver": True})
    quick = aiohttp.ClientTimeout(total=0.2)
    with pytest.raises(TimeoutError):
        await here.http.post(here.url + SEND, json={"chat_id": ADA, "text": "x"}, timeout=quick)
    assert await texts(here) == ["x"]


async def test_latency_delays_the_answer_and_nothing_else(here: Here) -> None:
    await here.control("/faults", {"kind": "latency", "seconds": 5})
    slow = asyncio.create_task(here.result("sendMessage", chat_id=ADA, text="slow"))
    await until(lambda: not here.sandbox.faults.rules)
    assert await here.result("sendMessage", chat_id=GRACE, text="quick")
    assert not slow.done()
    await here.advance(5)
    assert (await soon(slow))["text"] == "slow"


async def test_faults_can_be_meant_for_one_method_and_one_chat(here: Here, bot: Bot) -> None:
    only = {"kind": "answer", "status": 500, "methods": ["sendMessage"], "chat_ids": [GRACE], "times": None}
    await here.control("/faults", only)
    await bot.get_me()
    await bot.send_message(ADA, "x")
    with pytest.raises(NetworkError):
        await bot.send_message(GRACE, "x")
    await here.control("/faults", verb="DELETE")
    await bot.send_message(GRACE, "x")


async def test_a_fault_over_a_refusal_still_logs_the_refusal(here: Here) -> None:
    await here.control("/faults", {"kind": "raw", "status": 502, "deliver": True})
    async with here.http.post(here.url + SEND, json={"chat_id": 5, "text": "x"}) as answer:
        assert answer.status == 502
    (entry,) = await here.log(method="sendMessage")
    assert (entry["status"], entry["answer"], entry["delivered"]) == (400, "replaced", False)


async def test_called_without_a_socket_a_drop_is_a_reset_error(here: Here) -> None:
    await here.control("/faults", {"kind": "close"})
    metrics = SandboxMetrics(CollectorRegistry(), ("sendMessage",))
    app = BotApi(lambda *_: asyncio.sleep(0), here.sandbox, metrics)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sandbox") as client:
        with pytest.raises(ConnectionResetError):
            await client.post(SEND, json={"chat_id": ADA, "text": "x"})


async def test_hundreds_of_sends_a_second_are_no_work(here: Here) -> None:
    begun = time.perf_counter()
    sends = (here.result("sendMessage", chat_id=ADA, text=str(n)) for n in range(300))
    await asyncio.gather(*sends)
    assert time.perf_counter() - begun < 3
    assert len(await here.log(method="sendMessage", answer="given")) == 300
