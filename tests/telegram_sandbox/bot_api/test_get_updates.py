"""getUpdates: long polls, offsets, two pollers, expiry; and the updates of people's actions."""

import asyncio
from typing import Any

from telegram import Bot

from tests.telegram_sandbox.conftest import ADA, TEAM, SandboxServer, soon, until

BUTTON = {"inline_keyboard": [[{"text": "Yes", "callback_data": "yes"}]]}


def waiting(server: SandboxServer) -> Any:
    return next(iter(server.sandbox.bots)).poll


async def test_a_long_poll_ends_with_the_first_update(server: SandboxServer) -> None:
    poll = asyncio.create_task(server.result("getUpdates", timeout=50))
    await until(lambda: waiting(server))
    await server.control(f"/chats/{ADA}/say", {"text": "/start"})
    (update,) = await soon(poll)
    assert update["message"]["text"] == "/start"
    assert update["message"]["from"]["first_name"] == "Ada"
    assert update["message"]["entities"] == [{"type": "bot_command", "offset": 0, "length": 6}]


async def test_a_long_poll_ends_empty_after_its_timeout(server: SandboxServer) -> None:
    poll = asyncio.create_task(server.result("getUpdates", timeout=120))
    await until(lambda: waiting(server))
    await server.advance(49)
    assert not poll.done()
    await server.advance(1)
    assert await soon(poll) == []


async def test_updates_are_returned_until_an_offset_confirms_them(server: SandboxServer) -> None:
    for text in ("one", "two"):
        await server.control(f"/chats/{ADA}/say", {"text": text})
    first = await server.result("getUpdates")
    await server.advance(5)
    assert [u["update_id"] for u in await server.result("getUpdates")] == [u["update_id"] for u in first]
    second = await server.result("getUpdates", offset=first[1]["update_id"])
    assert [u["message"]["text"] for u in second] == ["two"]
    await server.advance(5)
    assert [u["message"]["text"] for u in await server.result("getUpdates")] == ["two"]


async def test_a_repeated_offset_within_three_seconds_waits_three_seconds(server: SandboxServer) -> None:
    assert await server.result("getUpdates", offset=5) == []
    again = asyncio.create_task(server.result("getUpdates", offset=5))
    await until(lambda: waiting(server))
    await server.advance(3)
    assert await soon(again) == []


async def test_a_repeated_offset_within_half_a_second_gets_one_update(server: SandboxServer) -> None:
    for text in ("one", "two"):
        await server.control(f"/chats/{ADA}/say", {"text": text})
    assert len(await server.result("getUpdates")) == 2
    assert len(await server.result("getUpdates")) == 1


async def test_a_second_poller_ends_the_first_one_with_409(server: SandboxServer) -> None:
    first = asyncio.create_task(server.call("getUpdates", timeout=50))
    await until(lambda: waiting(server))
    second = asyncio.create_task(server.call("getUpdates", timeout=50, offset=7))
    refused = await soon(first)
    assert (refused["error_code"], refused["description"]) == (
        409,
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
    )
    third = asyncio.create_task(server.call("getUpdates", timeout=50, offset=8))
    await until(lambda: b'"status":409' in b"".join(server.sandbox.event_log.read(0, 1000)[-1:]))
    assert not second.done()
    await server.advance(3)
    assert (await soon(second))["error_code"] == 409
    await server.control(f"/chats/{ADA}/say", {"text": "x"})
    assert len((await soon(third))["result"]) == 1


async def test_a_poll_ends_with_its_connection(server: SandboxServer) -> None:
    poll = asyncio.create_task(server.call("getUpdates", timeout=50))
    await until(lambda: waiting(server))
    poll.cancel()
    await until(lambda: waiting(server) is None)
    await server.control(f"/chats/{ADA}/say", {"text": "x"})
    assert len(await server.result("getUpdates")) == 1


async def test_an_unconfirmed_tap_expires_after_150_seconds(server: SandboxServer) -> None:
    message = await server.result("sendMessage", chat_id=ADA, text="?", reply_markup=BUTTON)
    await server.control(f"/chats/{ADA}/messages/{message['message_id']}/tap", {"data": "yes"})
    await server.control(f"/chats/{ADA}/say", {"text": "still server"})
    await server.advance(150)
    kinds = [next(k for k in update if k != "update_id") for update in await server.result("getUpdates")]
    assert kinds == ["message"]


async def test_allowed_updates_are_stored(server: SandboxServer) -> None:
    await server.result("getUpdates", allowed_updates=["callback_query"])
    await server.control(f"/chats/{ADA}/say", {"text": "not asked for"})
    await server.advance(5)
    assert await server.result("getUpdates") == []
    await server.advance(5)
    await server.result("getUpdates", allowed_updates=[])
    await server.control(f"/chats/{ADA}/say", {"text": "asked for"})
    await server.advance(5)
    assert len(await server.result("getUpdates")) == 1


async def test_the_bot_gets_updates_of_a_block_and_an_unblock(server: SandboxServer, bot: Bot) -> None:
    await server.control(f"/chats/{ADA}/block")
    await server.control(f"/chats/{ADA}/unblock")
    updates = await bot.get_updates()
    changes = [
        (u.my_chat_member.old_chat_member.status, u.my_chat_member.new_chat_member.status)
        for u in updates
        if u.my_chat_member
    ]
    assert changes == [("member", "kicked"), ("kicked", "member")]


async def test_the_bot_gets_updates_of_a_kick_and_a_return(server: SandboxServer, bot: Bot) -> None:
    await server.control(f"/chats/{TEAM}/kick")
    await server.control(f"/chats/{TEAM}/join")
    updates = await bot.get_updates()
    assert [u.my_chat_member.new_chat_member.status for u in updates if u.my_chat_member] == [
        "kicked",
        "member",
    ]


async def test_python_telegram_bot_parses_becoming_a_channel_s_administrator(
    server: SandboxServer, bot: Bot
) -> None:
    channel = -1001000000009
    await server.control("/chats", {"id": channel, "type": "channel"})
    await server.control(f"/chats/{channel}/leave")
    await server.control(f"/chats/{channel}/join")
    await server.control(f"/chats/{channel}/say", {"text": "from the channel"})
    updates = await bot.get_updates()
    assert [u.my_chat_member.new_chat_member.status for u in updates if u.my_chat_member] == [
        "left",
        "administrator",
    ]
    assert [u.channel_post.text for u in updates if u.channel_post] == ["from the channel"]


async def test_an_upgrade_is_announced_in_both_chats(server: SandboxServer, bot: Bot) -> None:
    await server.control(f"/chats/{TEAM}/upgrade", {"new_id": -1001000002001}, verb="PUT")
    old, new = await bot.get_updates()
    assert old.message is not None
    assert new.message is not None
    assert (old.message.chat.id, old.message.migrate_to_chat_id) == (TEAM, -1001000002001)
    assert (new.message.chat.id, new.message.migrate_from_chat_id) == (-1001000002001, TEAM)


async def test_a_reply_in_a_topic_has_the_topic_and_the_original(server: SandboxServer, bot: Bot) -> None:
    chat = -1001000000001
    message = await bot.send_message(chat, "?", message_thread_id=7)
    said = {"text": "!", "thread_id": 7, "reply_to": message.message_id, "person_id": 1002}
    await server.control(f"/chats/{chat}/say", said)
    (update,) = await bot.get_updates()
    assert update.message is not None
    assert update.message.reply_to_message is not None
    assert update.message.from_user is not None
    assert (update.message.message_thread_id, update.message.from_user.first_name) == (7, "Grace")
    assert update.message.reply_to_message.message_id == message.message_id


async def test_unknown_kinds_of_updates_are_ignored(server: SandboxServer) -> None:
    for kinds in (["Message", "nonsense"], ["nonsense"], [], "{", [5]):
        await server.result("getUpdates", allowed_updates=kinds)
        await server.control(f"/chats/{ADA}/say", {"text": "x"})
    assert len(next(iter(server.sandbox.bots)).queue.pending) == 5
    await server.result("getUpdates", allowed_updates=["callback_query"])
    await server.control(f"/chats/{ADA}/say", {"text": "x"})
    assert len(next(iter(server.sandbox.bots)).queue.pending) == 5
