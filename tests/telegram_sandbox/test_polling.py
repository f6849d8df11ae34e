"""getUpdates: long polls, offsets, two pollers, updates that expire."""

import asyncio
from typing import Any

from telegram import Bot

from tests.telegram_sandbox.conftest import ADA, TEAM, Here, soon, until

BUTTON = {"inline_keyboard": [[{"text": "Yes", "callback_data": "yes"}]]}


def waiting(here: Here) -> Any:
    return next(iter(here.sandbox.bots)).poll


async def test_a_long_poll_ends_with_the_first_update(here: Here) -> None:
    poll = asyncio.create_task(here.result("getUpdates", timeout=50))
    await until(lambda: waiting(here))
    await here.control(f"/chats/{ADA}/say", {"text": "/start"})
    (update,) = await soon(poll)
    assert update["message"]["text"] == "/start"
    assert update["message"]["from"]["first_name"] == "Ada"
    assert update["message"]["entities"] == [{"type": "bot_command", "offset": 0, "length": 6}]


async def test_a_long_poll_ends_empty_when_its_time_is_over(here: Here) -> None:
    poll = asyncio.create_task(here.result("getUpdates", timeout=120))
    await until(lambda: waiting(here))
    await here.advance(49)
    assert not poll.done()
    await here.advance(1)
    assert await soon(poll) == []


async def test_updates_come_again_until_an_offset_confirms_them(here: Here) -> None:
    for text in ("one", "two"):
        await here.control(f"/chats/{ADA}/say", {"text": text})
    first = await here.result("getUpdates")
    await here.advance(5)
    assert [u["update_id"] for u in await here.result("getUpdates")] == [u["update_id"] for u in first]
    second = await here.result("getUpdates", offset=first[1]["update_id"])
    assert [u["message"]["text"] for u in second] == ["two"]
    await here.advance(5)
    assert [u["message"]["text"] for u in await here.result("getUpdates")] == ["two"]


async def test_the_same_offset_again_within_three_seconds_is_made_to_wait_for_three(here: Here) -> None:
    assert await here.result("getUpdates", offset=5) == []
    again = asyncio.create_task(here.result("getUpdates", offset=5))
    await until(lambda: waiting(here))
    await here.advance(3)
    assert await soon(again) == []


async def test_the_same_offset_again_within_half_a_second_gets_one_update(here: Here) -> None:
    for text in ("one", "two"):
        await here.control(f"/chats/{ADA}/say", {"text": text})
    assert len(await here.result("getUpdates")) == 2
    assert len(await here.result("getUpdates")) == 1


async def test_a_second_poller_ends_the_first_one_with_409(here: Here) -> None:
    first = asyncio.create_task(here.call("getUpdates", timeout=50))
    await until(lambda: waiting(here))
    second = asyncio.create_task(here.call("getUpdates", timeout=50, offset=7))
    refused = await soon(first)
    assert (refused["error_code"], refused["description"]) == (
        409,
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
    )
    third = asyncio.create_task(here.call("getUpdates", timeout=50, offset=8))
    await until(lambda: b'"status":409' in b"".join(here.sandbox.journal.read(0, 1000)[-1:]))
    assert not second.done()
    await here.advance(3)
    assert (await soon(second))["error_code"] == 409
    await here.control(f"/chats/{ADA}/say", {"text": "x"})
    assert len((await soon(third))["result"]) == 1


async def test_a_poll_ends_with_its_connection(here: Here) -> None:
    poll = asyncio.create_task(here.call("getUpdates", timeout=50))
    await until(lambda: waiting(here))
    poll.cancel()
    await until(lambda: waiting(here) is None)
    await here.control(f"/chats/{ADA}/say", {"text": "x"})
    assert len(await here.result("getUpdates")) == 1


async def test_a_tap_that_nobody_took_is_gone_after_150_seconds(here: Here) -> None:
    message = await here.result("sendMessage", chat_id=ADA, text="?", reply_markup=BUTTON)
    await here.control(f"/chats/{ADA}/messages/{message['message_id']}/tap", {"data": "yes"})
    await here.control(f"/chats/{ADA}/say", {"text": "still here"})
    await here.advance(150)
    kinds = [next(k for k in update if k != "update_id") for update in await here.result("getUpdates")]
    assert kinds == ["message"]


async def test_allowed_updates_are_remembered(here: Here) -> None:
    await here.result("getUpdates", allowed_updates=["callback_query"])
    await here.control(f"/chats/{ADA}/say", {"text": "not asked for"})
    await here.advance(5)
    assert await here.result("getUpdates") == []
    await here.advance(5)
    await here.result("getUpdates", allowed_updates=[])
    await here.control(f"/chats/{ADA}/say", {"text": "asked for"})
    await here.advance(5)
    assert len(await here.result("getUpdates")) == 1


async def test_blocking_and_unblocking_reach_the_bot(here: Here, bot: Bot) -> None:
    await here.control(f"/chats/{ADA}/block")
    await here.control(f"/chats/{ADA}/unblock")
    updates = await bot.get_updates()
    changes = [
        (u.my_chat_member.old_chat_member.status, u.my_chat_member.new_chat_member.status)
        for u in updates
        if u.my_chat_member
    ]
    assert changes == [("member", "kicked"), ("kicked", "member")]


async def test_being_kicked_and_taken_back_reaches_the_bot(here: Here, bot: Bot) -> None:
    await here.control(f"/chats/{TEAM}/kick")
    await here.control(f"/chats/{TEAM}/join")
    updates = await bot.get_updates()
    assert [u.my_chat_member.new_chat_member.status for u in updates if u.my_chat_member] == [
        "kicked",
        "member",
    ]


async def test_becoming_a_channel_s_administrator_is_understood_by_ptb(here: Here, bot: Bot) -> None:
    channel = -1001000000009
    await here.control("/chats", {"id": channel, "type": "channel"})
    await here.control(f"/chats/{channel}/leave")
    await here.control(f"/chats/{channel}/join")
    await here.control(f"/chats/{channel}/say", {"text": "from the channel"})
    updates = await bot.get_updates()
    assert [u.my_chat_member.new_chat_member.status for u in updates if u.my_chat_member] == [
        "left",
        "administrator",
    ]
    assert [u.channel_post.text for u in updates if u.channel_post] == ["from the channel"]


async def test_an_upgrade_is_told_in_both_chats(here: Here, bot: Bot) -> None:
    await here.control(f"/chats/{TEAM}/upgrade", {"new_id": -1001000002001}, verb="PUT")
    old, new = await bot.get_updates()
    assert old.message is not None
    assert new.message is not None
    assert (old.message.chat.id, old.message.migrate_to_chat_id) == (TEAM, -1001000002001)
    assert (new.message.chat.id, new.message.migrate_from_chat_id) == (-1001000002001, TEAM)


async def test_a_reply_in_a_topic_carries_both(here: Here, bot: Bot) -> None:
    chat = -1001000000001
    message = await bot.send_message(chat, "?", message_thread_id=7)
    said = {"text": "!", "thread_id": 7, "reply_to": message.message_id, "person_id": 1002}
    await here.control(f"/chats/{chat}/say", said)
    (update,) = await bot.get_updates()
    assert update.message is not None
    assert update.message.reply_to_message is not None
    assert update.message.from_user is not None
    assert (update.message.message_thread_id, update.message.from_user.first_name) == (7, "Grace")
    assert update.message.reply_to_message.message_id == message.message_id
