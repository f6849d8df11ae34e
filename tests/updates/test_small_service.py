"""The library by itself: a small service with a handler of its own, an outbox and a bot, on SQLite."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Column, Connection, MetaData, Select, Table, Text, func, insert, select

from services.kit.clock import SystemClock
from services.kit.database import leader_lease
from services.kit.database.connect import Database, open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.outbox import schema
from services.outbox.engine import EngineSettings, open_outbox
from services.outbox.intake import enqueue
from services.outbox.messages import Submission
from services.outbox.metrics import OutboxMetrics
from services.outbox.rate_limit.limits import Limits
from services.outbox.settings import SANDBOX_TOKEN
from services.outbox.telegram.bot_api import Bot, make_bot
from services.outbox.telegram.sender import Sender
from services.updates import processor, receiver
from services.updates.batch import Batch
from services.updates.handler import ReactionSpan, ReceivedUpdate
from services.updates.metrics import UpdateMetrics
from services.updates.parse import Tap, TextMessage
from services.updates.processor import UpdateDependencies
from services.updates.receiver import Receiver
from services.updates.source import Polling
from services.updates.stored_updates import store
from services.updates.stored_updates.schema import telegram_update
from services.updates.stored_updates.store import BotCall, UpdateState
from tests.outbox import making
from tests.servers import BOT_ID, Sandbox, until
from tests.updates.making import text

ADA = 1001
BOT = "alerts"
NO_LIMITS = Limits(0, 0, 1, 0)
#: What the handler writes beside its reaction.
noted = Table("noted", MetaData(), Column("text", Text, primary_key=True))


@dataclass(frozen=True, slots=True)
class Answer:
    """The reaction of the small service."""

    replies: tuple[Submission, ...] = ()
    bot_calls: tuple[BotCall, ...] = ()
    text: str = ""


class SmallHandler:
    """Notes and repeats texts, answers taps with a toast, and cannot handle the text "bad"."""

    menu: Mapping[str, str] = {"ack": "take an alert"}

    def __init__(self) -> None:
        self.username: str | None = None
        self.tried: list[str] = []
        self.published: list[str] = []

    def introduce(self, username: str | None) -> None:
        self.username = username

    def context(self, update: ReceivedUpdate) -> ReceivedUpdate:
        return update

    def react(self, connection: Connection, context: ReceivedUpdate) -> Answer:
        match context.parsed:
            case TextMessage() as message:
                return self._repeat(connection, message)
            case Tap() as tap:
                toast = {"callback_query_id": tap.query_id, "text": f"Taken by {tap.sender.name}."}
                return Answer(bot_calls=(BotCall("answerCallbackQuery", toast),), text=tap.data)
        return Answer()

    def _repeat(self, connection: Connection, message: TextMessage) -> Answer:
        self.tried.append(message.text)
        connection.execute(insert(noted).values(text=message.text))
        if message.text == "bad":
            raise ValueError("this text is bad")
        return Answer(replies=(reply(f"You said: {message.text}"),), text=message.text)

    def store(self, connection: Connection, context: ReceivedUpdate, reaction: Answer) -> None:
        # What the reaction names is stored before: in the same transaction, it can be read here.
        stored = connection.execute(select(func.count()).select_from(schema.message)).scalar_one()
        assert stored >= len(reaction.replies)
        state = select(telegram_update.c.state).where(telegram_update.c.seq == context.stored.seq)
        expected = UpdateState.CALLS_PENDING if reaction.bot_calls else UpdateState.HANDLED
        assert connection.execute(state).scalar_one() == expected.value

    async def publish(self, context: ReceivedUpdate, reaction: Answer) -> None:
        self.published.append(reaction.text)

    def span(self, reaction: Answer) -> ReactionSpan | None:
        return ReactionSpan("small")

    def after_outage(self, connection: Connection, since: float, now: float) -> Sequence[Submission]:
        made_up = [reply("Taps were lost.")]
        enqueue.insert(connection, made_up, now)
        return made_up


def reply(words: str) -> Submission:
    return making.submission(making.message(ADA, bot=BOT), of=making.event(words, body=making.parts(words)))


@dataclass
class Small:
    """The running service, and its bot's chat with Ada."""

    database: Database
    receiver: Receiver
    registry: CollectorRegistry
    sandbox: Sandbox
    bot: Bot

    async def say(self, words: str) -> None:
        await self.sandbox.post(f"/chats/{ADA}/say", {"text": words})

    async def until_said(self, words: str) -> None:
        async def said() -> bool:
            return words in await self.sandbox.texts(ADA)

        await until(said)

    async def pending(self) -> int:
        """How many updates the bot has not acknowledged."""
        return len((await self.sandbox.client.get(f"/control/bots/{BOT_ID}/updates")).json())

    async def rows(self) -> list[tuple[str, int]]:
        """State and failed tries of each stored update."""
        query = select(telegram_update.c.state, telegram_update.c.tries).order_by(telegram_update.c.seq)
        return [(row.state, row.tries) for row in await self._read(query)]

    async def noted(self) -> list[str]:
        return [row.text for row in await self._read(select(noted))]

    async def _read(self, query: Select[Any]) -> Sequence[Any]:
        return await self.database.read("read", lambda connection: connection.execute(query).all())

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    def polls(self) -> float:
        """How many polls were answered."""
        labels = {"endpoint": "getUpdates", "provider": "telegram", "status_code": "200"}
        return self.metric("external_api_calls_total", **labels)


async def opened(folder: Path, telemetry: Telemetry) -> Database:
    packages = ("services.outbox", *receiver.PACKAGES)
    return await open_database(f"sqlite:///{folder / 'small.db'}", telemetry, packages=packages)


@asynccontextmanager
async def small_service(folder: Path, sandbox: Sandbox, handler: SmallHandler) -> AsyncIterator[Small]:
    clock, telemetry = SystemClock(), Telemetry("small", ServiceSettings(data_dir=folder))
    async with AsyncExitStack() as stack:
        database = await opened(folder, telemetry)
        stack.push_async_callback(database.close)
        await database.write("create", lambda connection: noted.create(connection, checkfirst=True))
        bot = make_bot(SANDBOX_TOKEN, sandbox.url, 4, telemetry.count_call)
        outbox = await stack.enter_async_context(
            open_outbox(
                EngineSettings(limits=NO_LIMITS, bot_name=BOT),
                database=database,
                telemetry=telemetry,
                metrics=OutboxMetrics(telemetry.registry, {"custom_event": "custom"}),
                clock=clock,
                sender=Sender(bot, clock),
                render=making.render,
            )
        )
        deps = UpdateDependencies(
            database=database,
            outbox=outbox,
            bot=bot,
            source=Polling(bot),
            telemetry=telemetry,
            metrics=UpdateMetrics(telemetry.registry, [BOT]),
            clock=clock,
        )
        receiving = Receiver(BOT, "replica-1", deps, handler)
        await stack.enter_async_context(receiving.running())
        yield Small(database, receiving, telemetry.registry, sandbox, bot)


@pytest.fixture
def handler() -> SmallHandler:
    return SmallHandler()


@pytest.fixture
async def small(tmp_path: Path, sandbox: Sandbox, handler: SmallHandler) -> AsyncIterator[Small]:
    async with small_service(tmp_path, sandbox, handler) as running:
        yield running


@asynccontextmanager
async def locked(database: Database) -> AsyncIterator[None]:
    """Lets nothing be stored for the length of the block: SQLite has one writer."""
    begun, end = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(_: Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(end.wait(), loop).result(timeout=20)

    holding = asyncio.create_task(database.write("hold", hold))
    await begun.wait()
    try:
        yield
    finally:
        end.set()
        await holding


async def test_an_update_is_stored_before_it_is_acknowledged(small: Small) -> None:
    await small.say("hello")
    await small.until_said("You said: hello")
    async with locked(small.database):
        polls = small.polls()
        await small.say("once more")

        async def received() -> bool:
            return small.polls() > polls

        await until(received)
        assert (await small.pending(), len(await small.rows())) == (1, 1)
    await small.until_said("You said: once more")

    async def acknowledged() -> bool:
        return await small.pending() == 0

    await until(acknowledged)
    assert await small.rows() == [("handled", 0), ("handled", 0)]


async def test_each_update_is_handled_once_also_after_a_restart(
    tmp_path: Path, sandbox: Sandbox, handler: SmallHandler
) -> None:
    batch = Batch((text(71, "first"), text(72, "second")))
    async with small_service(tmp_path, sandbox, handler) as small:
        assert [await small.receiver.store(batch) for _ in range(2)] == [2, 0]
        await small.until_said("You said: second")
    async with small_service(tmp_path, sandbox, handler) as small:
        assert await small.receiver.store(batch) == 0
        await small.receiver.store(Batch((text(73, "third"),)))
        await small.until_said("You said: third")
        assert await small.rows() == [("handled", 0)] * 3
    assert handler.tried == handler.published == ["first", "second", "third"]


async def test_an_update_that_cannot_be_handled_is_tried_again_and_then_set_aside(
    small: Small, handler: SmallHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "POLL_SECONDS", 0.01)
    await small.receiver.store(Batch((text(71, "bad"), text(72, "good"))))
    await small.until_said("You said: good")
    assert handler.tried == ["bad"] * processor.MOST_TRIES + ["good"]
    assert await small.rows() == [("failed", processor.MOST_TRIES), ("handled", 0)]
    # What the handler wrote of the first one was rolled back each time.
    assert await small.noted() == ["good"]
    assert handler.published == ["good"]
    assert small.metric("cctelegram_telegram_update_failures_total") == 1.0
    assert small.metric("cctelegram_telegram_updates_total", kind="message") == 2.0


async def test_a_tap_is_answered_by_the_bot_that_showed_the_button(
    small: Small, handler: SmallHandler
) -> None:
    buttons = {"inline_keyboard": [[{"text": "Ack", "callback_data": "ack:7"}]]}
    shown = {"chat_id": ADA, "text": "Disk full", "reply_markup": json.dumps(buttons)}
    message = await small.bot.call("sendMessage", shown)
    await small.sandbox.post(f"/chats/{ADA}/messages/{message['message_id']}/tap", {"text": "Ack"})

    async def toast() -> str | None:
        calls = (one for one in await small.sandbox.log() if one.get("method") == "answerCallbackQuery")
        return next((one["text"] for one in calls if one["status"] == 200), None)

    assert str(await until(toast)).startswith("Taken by Ada")
    assert handler.published == ["ack:7"]


async def test_calls_that_an_earlier_process_had_stored_are_made_by_the_next(
    tmp_path: Path, sandbox: Sandbox, handler: SmallHandler
) -> None:
    database = await opened(tmp_path, Telemetry("earlier", ServiceSettings(data_dir=tmp_path)))
    add = partial(store.add, bot=BOT, updates=[text(71)], now=time.time())
    await database.write("updates", add)
    (one,) = await database.read("updates", partial(store.not_handled, bot=BOT, limit=10))
    await database.write("updates", partial(store.mark_handled, seq=one.seq, now=time.time()))
    calls = [BotCall("sendMessage", {"chat_id": ADA, "text": "of the earlier process"})]
    await database.write("updates", partial(store.add_bot_calls, seq=one.seq, calls=calls))
    await database.close()
    async with small_service(tmp_path, sandbox, handler) as small:
        await small.until_said("of the earlier process")
    assert handler.tried == []


async def test_the_bot_s_menu_is_the_handler_s_which_learns_the_bot_s_name(
    small: Small, handler: SmallHandler
) -> None:
    async def bot() -> dict[str, Any] | None:
        (shown,) = (await small.sandbox.client.get("/control/bots")).json()
        return dict(shown) if shown["commands"] else None

    shown = await until(bot)
    assert shown is not None
    assert list(shown["commands"].values()) == [[{"command": "ack", "description": "take an alert"}]]
    assert handler.username == shown["username"]


async def test_after_an_outage_that_lost_taps_the_handler_makes_up_for_them(
    tmp_path: Path, sandbox: Sandbox, handler: SmallHandler
) -> None:
    name = receiver.lease_name(BOT)
    database = await opened(tmp_path, Telemetry("earlier", ServiceSettings(data_dir=tmp_path)))
    await database.write("create", partial(leader_lease.create, name=name))
    await database.write("record", partial(leader_lease.record_success, name=name, now=time.time() - 1_000))
    await database.close()
    async with small_service(tmp_path, sandbox, handler) as small:
        await small.until_said("Taps were lost.")
