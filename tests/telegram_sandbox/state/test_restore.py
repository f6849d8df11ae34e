"""The event log, and the state that is restored from it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from fastapi import FastAPI

from services.kit.settings import StartError
from services.telegram_sandbox.app import create_app
from services.telegram_sandbox.settings import SandboxSettings
from services.telegram_sandbox.state.event_log import EventLog
from tests.telegram_sandbox.conftest import ADA, NOON, OPERATIONS, TEAM, started, until

BUTTON = {"inline_keyboard": [[{"text": "Yes", "callback_data": "yes"}]]}


def test_entries_are_numbered_without_gaps_and_read_by_cursor(tmp_path: Path) -> None:
    event_log = EventLog(tmp_path / "log", 100)
    event_log.open()
    assert [event_log.append({"kind": "x", "n": n}) for n in range(5)] == [1, 2, 3, 4, 5]
    assert [orjson.loads(line)["n"] for line in event_log.read(2, 2)] == [2, 3]
    assert event_log.read(5, 10) == []
    event_log.close()
    assert len((tmp_path / "log").read_bytes().splitlines()) == 5


def test_memory_keeps_the_newest_entries_and_the_file_all() -> None:
    event_log = EventLog(None, 3)
    for n in range(10):
        event_log.append({"n": n})
    assert event_log.oldest == 8
    assert [orjson.loads(line)["seq"] for line in event_log.read(7, 10)] == [8, 9, 10]


def test_a_line_cut_off_by_a_crash_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"seq":1,"kind":"x"}\n{"seq":2,"ki')
    event_log = EventLog(path, 100)
    assert [entry["seq"] for entry in event_log.replay()] == [1]
    event_log.open()
    event_log.append({"kind": "y"})
    event_log.close()
    again = EventLog(path, 100)
    assert [entry["kind"] for entry in again.replay()] == ["x", "y"]


def test_a_failed_write_uses_no_sequence_number(tmp_path: Path) -> None:
    event_log = EventLog(Path("/dev/full"), 100)
    event_log.open()
    with pytest.raises(OSError, match="No space left"):
        event_log.append({"kind": "x"})
    assert (event_log.seq, event_log.read(0, 10)) == (0, [])


async def test_a_reader_can_wait_for_the_next_entry() -> None:
    event_log = EventLog(None, 100)
    waiting = asyncio.create_task(event_log.wait(0, 5))
    await asyncio.sleep(0)
    event_log.append({"kind": "x"})
    assert await waiting is True
    assert await event_log.wait(1, 0.01) is False


async def test_chats_messages_documents_updates_and_webhook_survive_a_restart(
    settings: SandboxSettings,
) -> None:
    async with started(settings) as server, server.bot() as bot:
        first = await bot.send_message(ADA, "<b>kept</b>", parse_mode="HTML", disable_notification=True)
        await bot.edit_message_text("edited", ADA, first.message_id)
        gone = await bot.send_message(ADA, "deleted")
        await bot.delete_message(ADA, gone.message_id)
        sent = await bot.send_document(TEAM, b"data", filename="a.txt")
        await server.control("/chats", {"id": 77, "title": "Late"})
        await server.control(f"/chats/{ADA}/say", {"text": "taken"})
        await server.control(f"/chats/{ADA}/say", {"text": "not taken"})
        updates = await bot.get_updates()
        assert updates[0].message is not None
        await updates[0].message.set_reaction("👌")
        await bot.get_updates(offset=updates[-1].update_id)
        await server.control(f"/chats/{ADA}/block")
        last_seq = server.sandbox.event_log.seq
    assert sent.document is not None
    async with started(settings) as server, server.bot() as bot:
        shown = (await server.get(f"/api/chats/{ADA}/messages"))["messages"]
        assert [(m["message"]["text"], m["silent"], m["reaction"]) for m in shown] == [
            ("edited", True, None),
            ("taken", False, "👌"),
            ("not taken", False, None),
        ]
        assert bytes(await (await bot.get_file(sent.document.file_id)).download_as_bytearray()) == b"data"
        assert (await server.control("/chats/77", verb="GET"))["title"] == "Late"
        assert (await server.control(f"/chats/{ADA}", verb="GET"))["blocked"] is True
        left = await bot.get_updates()
        assert [u.message.text for u in left if u.message] == ["not taken"]
        assert (await bot.send_message(77, "x")).message_id > gone.message_id
        assert (await server.log())[0]["seq"] == 1
        assert server.sandbox.event_log.seq > last_seq


async def test_a_webhook_survives_a_restart(settings: SandboxSettings) -> None:
    async with started(settings) as server:
        await server.result("setWebhook", url="http://127.0.0.1:9/hook", secret_token="s")
    async with started(settings) as server:
        assert (await server.result("getWebhookInfo"))["url"] == "http://127.0.0.1:9/hook"


@pytest.mark.parametrize("largest", [64_000_000, 1])
async def test_charged_messages_survive_restarts(settings: SandboxSettings, largest: int) -> None:
    paid = settings.model_copy(update={"sandbox_limits": True, "sandbox_log_max_bytes": largest})
    async with started(paid) as server:
        await server.control("/limits", {"bot_per_second": 1, "hold_seconds": 0}, verb="PATCH")
        for number in range(3):
            await server.call("sendMessage", chat_id=ADA, text=str(number), allow_paid_broadcast=True)
        answer = await server.call("getStarTransactions")
        assert len(answer["result"]["transactions"]) == 2
    for _ in range(2):
        async with started(paid) as server:
            assert await server.call("getStarTransactions") == answer


async def test_a_log_that_is_too_large_is_rotated_and_restarted_with_the_state(
    settings: SandboxSettings,
) -> None:
    async with started(settings) as server, server.bot() as bot:
        for n in range(20):
            message = await bot.send_message(ADA, str(n))
            await bot.edit_message_text(f"{n} edited", ADA, message.message_id)
        await server.control(f"/chats/{ADA}/say", {"text": "pending"})
        seq = server.sandbox.event_log.seq
    small = settings.model_copy(update={"sandbox_log_max_bytes": 1000})
    log = settings.log_file
    before = log.read_bytes()
    async with started(small) as server:
        assert log.with_name("log.jsonl.1").read_bytes() == before
        assert len((await server.get(f"/api/chats/{ADA}/messages"))["messages"]) == 21
        assert server.sandbox.event_log.seq > seq
    assert len(log.read_bytes()) < len(before)
    async with started(settings) as server:
        texts = [m["message"]["text"] for m in (await server.get(f"/api/chats/{ADA}/messages"))["messages"]]
        assert texts == [f"{n} edited" for n in range(20)] + ["pending"]
        assert len(await server.result("getUpdates")) == 1


async def test_ids_are_not_reused_after_the_state_was_deleted(settings: SandboxSettings) -> None:
    async with started(settings, now=NOON) as server:
        first = await server.result("sendMessage", chat_id=ADA, text="x")
        await server.control(f"/chats/{ADA}/say", {"text": "x"})
        (update,) = await server.result("getUpdates")
    settings.log_file.unlink()
    async with started(settings, now=NOON + 60) as server:
        second = await server.result("sendMessage", chat_id=ADA, text="x")
        await server.control(f"/chats/{ADA}/say", {"text": "x"})
        (later,) = await server.result("getUpdates")
    assert second["message_id"] > first["message_id"]
    assert later["update_id"] > update["update_id"]


async def test_a_chat_keeps_its_newest_messages_only(settings: SandboxSettings) -> None:
    async with started(settings.model_copy(update={"sandbox_messages_kept": 10})) as server:
        for n in range(15):
            await server.result("sendMessage", chat_id=OPERATIONS, text=str(n))
        texts = [
            m["message"]["text"] for m in (await server.get(f"/api/chats/{OPERATIONS}/messages"))["messages"]
        ]
    assert texts == [str(n) for n in range(5, 15)]


async def test_the_log_has_every_detail_of_a_send(settings: SandboxSettings) -> None:
    async with started(settings) as server:
        fields: dict[str, Any] = {
            "chat_id": OPERATIONS,
            "message_thread_id": 7,
            "text": "*hi*",
            "parse_mode": "MarkdownV2",
        }
        sent = await server.result("sendMessage", **fields, disable_notification=True, reply_markup=BUTTON)
        (entry,) = await server.log(kind="call")
    message = entry.pop("message")
    assert message == sent
    seq = entry.pop("seq")
    assert seq == 5
    assert entry == {
        "time": NOON,
        "kind": "call",
        "bot": 1000000001,
        "method": "sendMessage",
        "chat_id": OPERATIONS,
        "thread_id": 7,
        "message_id": sent["message_id"],
        "text": "hi",
        "entities": [{"type": "bold", "offset": 0, "length": 2}],
        "delivered": True,
        "answer": "given",
        "status": 200,
        "silent": True,
    }


@pytest.fixture
def separate(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """A sandbox in another process, and its URL."""
    variables = {"SANDBOX_PORT": "0", "DATA_DIR": str(tmp_path), "SANDBOX_LIMITS": "false"}
    command = [sys.executable, "-m", "services.telegram_sandbox"]
    with subprocess.Popen(command, env=os.environ | variables, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        yield process, orjson.loads(process.stderr.readline())["url"]
        process.kill()


async def test_nothing_accepted_is_lost_when_the_process_is_killed(
    separate: tuple["subprocess.Popen[bytes]", str], tmp_path: Path
) -> None:
    """After kill -9 during sends, every answered message is in the file."""
    process, url = separate
    send = f"{url}/bot1000000001:sandbox-token-for-local-use-only/sendMessage"
    answered: list[int] = []

    async def sender(http: aiohttp.ClientSession) -> None:
        with suppress(aiohttp.ClientError):
            while True:
                async with http.post(send, json={"chat_id": ADA, "text": "x"}) as answer:
                    answered.append((await answer.json())["result"]["message_id"])

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as senders:
        for _ in range(8):
            senders.create_task(sender(http))
        await until(lambda: len(answered) >= 50)
        process.send_signal(signal.SIGKILL)
    lines = (tmp_path / "telegram_sandbox" / "log.jsonl").read_bytes().splitlines()
    assert set(answered) <= {orjson.loads(line).get("message_id") for line in lines}


async def test_an_unwritable_log_stops_the_start_with_one_line(
    settings: SandboxSettings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    wrong = settings.model_copy(update={"sandbox_log_file": tmp_path / "file" / "log"})
    with pytest.raises(StartError, match=r"^SANDBOX_LOG_FILE: cannot use .*: .*exists$"):
        async with create_app(wrong).router.lifespan_context(FastAPI()):
            pass


def test_an_invalid_token_stops_the_start(tmp_path: Path) -> None:
    for variables in ({"TELEGRAM_BOT_TOKEN": "nonsense"}, {"SANDBOX_TOKENS": "1:a,nonsense"}):
        run = subprocess.run(
            [sys.executable, "-m", "services.telegram_sandbox"],
            env=os.environ | {"SANDBOX_PORT": "0", "DATA_DIR": str(tmp_path)} | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 1
        assert (
            run.stderr
            == f"cannot start: {next(iter(variables))}: a bot token is <number>:<letters, digits, _ or ->\n"
        )
