"""The 8-second hold and the 429 behind it, over HTTP, with a clock that the test moves."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from telegram import Bot, TransactionPartnerTelegramApi
from telegram.error import RetryAfter

from services.telegram_sandbox.settings import SandboxSettings
from tests.telegram_sandbox.conftest import ADA, GRACE, TEAM, Here, soon, until

URL = "/bot1000000001:sandbox-token-for-local-use-only/sendMessage"


@pytest.fixture
def settings(settings: SandboxSettings) -> SandboxSettings:
    return settings.model_copy(update={"sandbox_limits": True})


async def send(here: Here, text: str, chat_id: int = ADA) -> dict[str, Any]:
    return await here.call("sendMessage", chat_id=chat_id, text=text)


def held(here: Here, chat_id: int = ADA) -> int:
    chat = here.sandbox.chats.get(chat_id)
    return chat.unsent if chat else 0


async def test_the_server_holds_a_message_until_the_chat_takes_it(here: Here) -> None:
    for number in range(3):
        assert (await send(here, f"burst {number}"))["ok"]
    fourth = asyncio.create_task(send(here, "fourth"))
    await until(lambda: held(here) == 1)
    assert not fourth.done()
    await here.advance(1.0)
    assert (await soon(fourth))["result"]["text"] == "fourth"
    (entry,) = [e for e in await here.log(method="sendMessage") if e["text"] == "fourth"]
    assert entry["held"] == 1.0
    assert entry["answer"] == "given"


async def test_held_messages_keep_their_order(here: Here) -> None:
    waiting = []
    for number in range(8):
        waiting.append(asyncio.create_task(send(here, str(number))))
        await until(lambda: held(here) + len(here.sandbox.chats.get(ADA).messages) == len(waiting))  # type: ignore[union-attr] # Ada is there from the start
    await here.advance(8.0)
    await soon(asyncio.gather(*waiting))
    texts = [e["text"] for e in await here.log(method="sendMessage")]
    assert texts == [str(number) for number in range(8)]


async def test_what_would_wait_longer_than_eight_seconds_is_a_429_with_its_header(here: Here) -> None:
    waiting = []
    for number in range(11):
        waiting.append(asyncio.create_task(send(here, str(number))))
        await until(lambda: held(here) + len(here.sandbox.chats.get(ADA).messages) == len(waiting))  # type: ignore[union-attr] # Ada is there from the start
    async with here.http.post(here.url + URL, json={"chat_id": ADA, "text": "too much"}) as answer:
        assert answer.status == 429
        assert answer.headers["Retry-After"] == "9"
        assert await answer.json() == {
            "ok": False,
            "error_code": 429,
            "description": "Too Many Requests: retry after 9",
            "parameters": {"retry_after": 9},
        }
    await here.advance(9.0)
    assert all(body["ok"] for body in await soon(asyncio.gather(*waiting)))
    refused = [e for e in await here.log(method="sendMessage") if not e["delivered"]]
    assert [(e["status"], e["retry_after"], e["text"]) for e in refused] == [(429, 9, "too much")]


async def test_ptb_hears_how_long_to_wait(here: Here, bot: Bot) -> None:
    await here.control("/limits", {"chat_burst": 1, "hold_seconds": 0}, verb="PATCH")
    await bot.send_message(ADA, "1")
    with pytest.raises(RetryAfter) as asked:
        await bot.send_message(ADA, "2")
    assert asked.value.retry_after == timedelta(seconds=1)
    await bot.send_message(GRACE, "another chat is free")
    await here.advance(1.0)
    await bot.send_message(ADA, "2")


async def test_a_group_is_full_after_twenty_messages_in_a_minute(here: Here) -> None:
    await here.control("/limits", {"chat_burst": 100, "hold_seconds": 0}, verb="PATCH")
    assert all([(await send(here, "x", TEAM))["ok"] for _ in range(20)])
    refused = await send(here, "x", TEAM)
    assert refused["parameters"] == {"retry_after": 60}


async def test_edits_count_against_the_chat_and_answers_to_taps_do_not(here: Here) -> None:
    await here.control("/limits", {"chat_burst": 1, "hold_seconds": 0}, verb="PATCH")
    message = (await send(here, "x"))["result"]
    status, _ = await here.refusal("editMessageText", chat_id=ADA, message_id=message["message_id"], text="y")
    assert status == 429
    await here.advance(10)
    keyboard = {"inline_keyboard": [[{"text": "Yes", "callback_data": "yes"}]]}
    message = await here.result("sendMessage", chat_id=ADA, text="?", reply_markup=keyboard)
    tap = await here.control(f"/chats/{ADA}/messages/{message['message_id']}/tap", {"data": "yes"})
    assert await here.result("answerCallbackQuery", callback_query_id=tap["callback_query_id"])


async def test_a_message_that_is_refused_for_its_content_costs_nothing(here: Here) -> None:
    await here.control("/limits", {"chat_burst": 1, "hold_seconds": 0}, verb="PATCH")
    for _ in range(5):
        assert (await here.refusal("sendMessage", chat_id=ADA, text="x" * 5000))[0] == 400
    assert (await send(here, "x"))["ok"]


async def test_more_than_310_unsent_messages_in_a_chat_are_refused_after_three_seconds(here: Here) -> None:
    await here.control(
        "/limits", {"unsent_per_chat": 2, "chat_burst": 1, "bot_per_second": 1000}, verb="PATCH"
    )
    waiting = [asyncio.create_task(send(here, "x")) for _ in range(3)]
    await until(lambda: held(here) == 2)
    refused = asyncio.create_task(send(here, "x"))
    await until(lambda: here.sandbox.journal.read(0, 10_000)[-1].count(b'"status":429'))
    assert not refused.done()
    await here.advance(3.0)
    assert (await soon(refused))["parameters"] == {"retry_after": 60}
    await soon(asyncio.gather(*waiting))


async def test_a_client_that_leaves_during_the_hold_has_its_message_delivered_all_the_same(
    here: Here,
) -> None:
    await here.control("/limits", {"chat_burst": 1}, verb="PATCH")
    await send(here, "first")
    impatient = asyncio.create_task(send(here, "second"))
    await until(lambda: held(here) == 1)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    await here.get("/health/live")  # the server answers this after it has seen the other connection go
    await here.advance(1.0)
    await until(lambda: held(here) == 0)
    (entry,) = [e for e in await here.log(method="sendMessage") if e["text"] == "second"]
    assert (entry["delivered"], entry["answer"]) == (True, "lost")


async def test_switched_off_limits_let_everything_through(here: Here) -> None:
    assert (await here.control("/limits", {"enabled": False}, verb="PATCH"))["enabled"] is False
    answers = await asyncio.gather(*(send(here, str(n), TEAM) for n in range(100)))
    assert all(answer["ok"] for answer in answers)


async def test_a_bot_that_pays_is_let_through_and_the_log_says_what_costs(here: Here) -> None:
    await here.control("/limits", {"bot_per_second": 2, "hold_seconds": 0, "chat_burst": 9}, verb="PATCH")
    for number in range(4):
        sent = await here.call("sendMessage", chat_id=ADA, text=str(number), allow_paid_broadcast=True)
        assert sent["ok"]
    assert not (await send(here, "for nothing"))["ok"]
    calls = [e for e in await here.log(method="sendMessage") if e["delivered"]]
    assert [entry.get("charged", False) for entry in calls] == [False, False, True, True]


async def test_what_was_charged_is_told_as_transactions_oldest_first(here: Here, bot: Bot) -> None:
    await here.control("/limits", {"bot_per_second": 1, "hold_seconds": 0, "chat_burst": 9}, verb="PATCH")
    for number in range(4):
        await here.call("sendMessage", chat_id=ADA, text=str(number), allow_paid_broadcast=True)
    told = (await bot.get_star_transactions()).transactions
    assert [(t.amount, t.nanostar_amount) for t in told] == [(0, 100_000_000)] * 3
    assert all(isinstance(t.receiver, TransactionPartnerTelegramApi) for t in told)
    assert [t.id for t in (await bot.get_star_transactions(offset=2)).transactions] == [told[2].id]
    assert [t.id for t in (await bot.get_star_transactions(limit=1)).transactions] == [told[0].id]
