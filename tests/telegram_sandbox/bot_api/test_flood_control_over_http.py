"""The 8-second hold and the 429 after it, over HTTP, with a clock that the test advances."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from telegram import Bot, TransactionPartnerTelegramApi
from telegram.error import RetryAfter

from services.telegram_sandbox.settings import SandboxSettings
from tests.telegram_sandbox.conftest import ADA, GRACE, TEAM, SandboxServer, soon, until

URL = "/bot1000000001:sandbox-token-for-local-use-only/sendMessage"


@pytest.fixture
def settings(settings: SandboxSettings) -> SandboxSettings:
    return settings.model_copy(update={"sandbox_limits": True})


async def send(server: SandboxServer, text: str, chat_id: int = ADA) -> dict[str, Any]:
    return await server.call("sendMessage", chat_id=chat_id, text=text)


def held(server: SandboxServer, chat_id: int = ADA) -> int:
    chat = server.sandbox.chats.get(chat_id)
    return chat.unsent if chat else 0


async def test_the_server_holds_a_message_until_the_chat_s_rate_allows_it(server: SandboxServer) -> None:
    for number in range(3):
        assert (await send(server, f"burst {number}"))["ok"]
    fourth = asyncio.create_task(send(server, "fourth"))
    await until(lambda: held(server) == 1)
    assert not fourth.done()
    await server.advance(1.0)
    assert (await soon(fourth))["result"]["text"] == "fourth"
    (entry,) = [e for e in await server.log(method="sendMessage") if e["text"] == "fourth"]
    assert entry["held"] == 1.0
    assert entry["answer"] == "given"


async def test_held_messages_keep_their_order(server: SandboxServer) -> None:
    waiting = []
    for number in range(8):
        waiting.append(asyncio.create_task(send(server, str(number))))
        await until(lambda: held(server) + len(server.sandbox.chats.get(ADA).messages) == len(waiting))  # type: ignore[union-attr] # Ada is there from the start
    await server.advance(8.0)
    await soon(asyncio.gather(*waiting))
    texts = [e["text"] for e in await server.log(method="sendMessage")]
    assert texts == [str(number) for number in range(8)]


async def test_a_wait_of_more_than_eight_seconds_is_a_429_with_its_header(server: SandboxServer) -> None:
    waiting = []
    for number in range(11):
        waiting.append(asyncio.create_task(send(server, str(number))))
        await until(lambda: held(server) + len(server.sandbox.chats.get(ADA).messages) == len(waiting))  # type: ignore[union-attr] # Ada is there from the start
    async with server.http.post(server.url + URL, json={"chat_id": ADA, "text": "too much"}) as answer:
        assert answer.status == 429
        assert answer.headers["Retry-After"] == "9"
        assert await answer.json() == {
            "ok": False,
            "error_code": 429,
            "description": "Too Many Requests: retry after 9",
            "parameters": {"retry_after": 9},
        }
    await server.advance(9.0)
    assert all(body["ok"] for body in await soon(asyncio.gather(*waiting)))
    refused = [e for e in await server.log(method="sendMessage") if not e["delivered"]]
    assert [(e["status"], e["retry_after"], e["text"]) for e in refused] == [(429, 9, "too much")]


async def test_python_telegram_bot_gets_the_retry_after(server: SandboxServer, bot: Bot) -> None:
    await server.control("/limits", {"chat_burst": 1, "hold_seconds": 0}, verb="PATCH")
    await bot.send_message(ADA, "1")
    with pytest.raises(RetryAfter) as asked:
        await bot.send_message(ADA, "2")
    assert asked.value.retry_after == timedelta(seconds=1)
    await bot.send_message(GRACE, "another chat is free")
    await server.advance(1.0)
    await bot.send_message(ADA, "2")


async def test_a_group_is_full_after_twenty_messages_in_a_minute(server: SandboxServer) -> None:
    await server.control("/limits", {"chat_burst": 100, "hold_seconds": 0}, verb="PATCH")
    assert all([(await send(server, "x", TEAM))["ok"] for _ in range(20)])
    refused = await send(server, "x", TEAM)
    assert refused["parameters"] == {"retry_after": 60}


async def test_edits_count_against_the_chat_and_answers_to_taps_do_not(server: SandboxServer) -> None:
    await server.control("/limits", {"chat_burst": 1, "hold_seconds": 0}, verb="PATCH")
    message = (await send(server, "x"))["result"]
    status, _ = await server.refusal(
        "editMessageText", chat_id=ADA, message_id=message["message_id"], text="y"
    )
    assert status == 429
    await server.advance(10)
    keyboard = {"inline_keyboard": [[{"text": "Yes", "callback_data": "yes"}]]}
    message = await server.result("sendMessage", chat_id=ADA, text="?", reply_markup=keyboard)
    tap = await server.control(f"/chats/{ADA}/messages/{message['message_id']}/tap", {"data": "yes"})
    assert await server.result("answerCallbackQuery", callback_query_id=tap["callback_query_id"])


async def test_a_message_refused_for_its_content_uses_no_rate(server: SandboxServer) -> None:
    await server.control("/limits", {"chat_burst": 1, "hold_seconds": 0}, verb="PATCH")
    for _ in range(5):
        assert (await server.refusal("sendMessage", chat_id=ADA, text="x" * 5000))[0] == 400
    assert (await send(server, "x"))["ok"]


async def test_more_than_310_unsent_messages_in_a_chat_are_refused_after_three_seconds(
    server: SandboxServer,
) -> None:
    await server.control(
        "/limits", {"unsent_per_chat": 2, "chat_burst": 1, "bot_per_second": 1000}, verb="PATCH"
    )
    waiting = [asyncio.create_task(send(server, "x")) for _ in range(3)]
    await until(lambda: held(server) == 2)
    refused = asyncio.create_task(send(server, "x"))
    await until(lambda: server.sandbox.event_log.read(0, 10_000)[-1].count(b'"status":429'))
    assert not refused.done()
    await server.advance(3.0)
    assert (await soon(refused))["parameters"] == {"retry_after": 60}
    await soon(asyncio.gather(*waiting))


async def test_a_held_message_is_delivered_although_its_client_disconnected(
    server: SandboxServer,
) -> None:
    await server.control("/limits", {"chat_burst": 1}, verb="PATCH")
    await send(server, "first")
    impatient = asyncio.create_task(send(server, "second"))
    await until(lambda: held(server) == 1)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    await server.get("/health/live")  # the server answers this after it has seen the other connection go
    await server.advance(1.0)
    await until(lambda: held(server) == 0)
    (entry,) = [e for e in await server.log(method="sendMessage") if e["text"] == "second"]
    assert (entry["delivered"], entry["answer"]) == (True, "lost")


async def test_disabled_limits_allow_everything(server: SandboxServer) -> None:
    assert (await server.control("/limits", {"enabled": False}, verb="PATCH"))["enabled"] is False
    answers = await asyncio.gather(*(send(server, str(n), TEAM) for n in range(100)))
    assert all(answer["ok"] for answer in answers)


async def test_paid_messages_exceed_the_free_rate_and_are_marked_in_the_log(server: SandboxServer) -> None:
    await server.control("/limits", {"bot_per_second": 2, "hold_seconds": 0, "chat_burst": 9}, verb="PATCH")
    for number in range(4):
        sent = await server.call("sendMessage", chat_id=ADA, text=str(number), allow_paid_broadcast=True)
        assert sent["ok"]
    assert not (await send(server, "for nothing"))["ok"]
    calls = [e for e in await server.log(method="sendMessage") if e["delivered"]]
    assert [entry.get("charged", False) for entry in calls] == [False, False, True, True]


async def test_charged_messages_are_transactions_oldest_first(server: SandboxServer, bot: Bot) -> None:
    await server.control("/limits", {"bot_per_second": 1, "hold_seconds": 0, "chat_burst": 9}, verb="PATCH")
    for number in range(4):
        await server.call("sendMessage", chat_id=ADA, text=str(number), allow_paid_broadcast=True)
    transactions = (await bot.get_star_transactions()).transactions
    assert [(t.amount, t.nanostar_amount) for t in transactions] == [(0, 100_000_000)] * 3
    assert all(isinstance(t.receiver, TransactionPartnerTelegramApi) for t in transactions)
    assert [t.id for t in (await bot.get_star_transactions(offset=2)).transactions] == [transactions[2].id]
    assert [t.id for t in (await bot.get_star_transactions(limit=1)).transactions] == [transactions[0].id]
