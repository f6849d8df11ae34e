"""Whatever a Bot API server answers, a call has a typed, bounded result, or the adapter's own error."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from telegram.error import TelegramError

from services.kit.clock import SystemClock
from services.outbox.messages import Document, Outcome, Reason, Rendered, Result, Text
from services.outbox.telegram import answers, errors
from services.outbox.telegram.answers import LONGEST_RETRY_AFTER, Me
from services.outbox.telegram.bot_api import Bot, make_bot
from services.outbox.telegram.sender import Sender
from services.outbox.telegram.values import LARGEST_ID
from tests.outbox.making import ADA, claimed
from tests.outbox.telegram.raw_server import Answer, Server

TEAM = -2001
#: Examples of each property over a real connection.
EXAMPLES = 300

# Any JSON, and JSON in which the names that the adapter reads have values of every kind.
NUMBERS = st.integers() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=40) | st.just("zz") | st.just("x" * 20_000)
ANY_JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
IDS = st.integers(-3, 3) | st.sampled_from([2**31, 2**53, 2**53 + 1, 2**63, 2**64, 10**30, -(2**63) - 1])
ODD = IDS | st.integers(1, 100) | ANY_JSON
PARAMETERS = st.fixed_dictionaries({}, optional={"retry_after": ODD, "migrate_to_chat_id": ODD})
MESSAGES = st.fixed_dictionaries({}, optional={"message_id": ODD, "chat": ANY_JSON, "text": ANY_JSON})
BOTS = st.fixed_dictionaries({}, optional={"id": ODD, "is_bot": ANY_JSON, "username": ODD})
RESULTS = MESSAGES | st.fixed_dictionaries({"message_id": ODD}) | BOTS | ANY_JSON
GOOD = st.fixed_dictionaries({"ok": st.just(True), "result": RESULTS})
REFUSED = st.fixed_dictionaries({"ok": st.just(False), "description": st.text(), "parameters": PARAMETERS})
MIXED = st.fixed_dictionaries(
    {},
    optional={
        "ok": st.booleans() | ANY_JSON,
        "result": RESULTS,
        "error_code": ODD,
        "description": ANY_JSON,
        "parameters": PARAMETERS | ANY_JSON,
    },
)
DEEP = st.sampled_from(["[" * 2_000, "[" * 2_000 + "]" * 2_000, '{"ok":' * 1_500])
BODIES = st.one_of(
    *(envelope.map(json.dumps).map(str.encode) for envelope in (GOOD, REFUSED, MIXED)),
    ANY_JSON.map(json.dumps).map(str.encode),
    st.binary(max_size=200),
    DEEP.map(str.encode),
)
STATUSES = st.sampled_from(
    [200, 200, 200, 201, 204, 302, 400, 400, 401, 403, 404, 409, 413, 429, 429, 500, 502]
)
Rows = list[tuple[int, bytes, Any]]


def says(status: int, body: bytes) -> Answer:
    """Answers once and closes, so that no answer is read as that of the next example."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    return answer


@pytest.fixture
async def bot(server: Server) -> AsyncIterator[Bot]:
    async with make_bot("1:token", server.url, 2) as opened:
        yield opened


def over(run: Callable[[int, bytes], Any]) -> None:
    """Runs a check for each example, in the thread that hypothesis uses."""

    @settings(
        max_examples=EXAMPLES,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(STATUSES, BODIES)
    def each(status: int, body: bytes) -> None:
        run(status, body)

    each()


async def for_each_answer(server: Server, check: Callable[[], Any]) -> int:
    """Lets the server give each example as its answer, and runs a check of a call; returns how many."""
    loop, number = asyncio.get_running_loop(), 0

    def run(status: int, body: bytes) -> None:
        nonlocal number
        server.answers = [says(status, body)]
        asyncio.run_coroutine_threadsafe(check(), loop).result(30)
        number += 1

    await asyncio.to_thread(over, run)
    return number


def is_bounded(result: Result) -> bool:
    return (
        (result.message_id is None or 0 < result.message_id <= LARGEST_ID)
        and (result.retry_after is None or 0 < result.retry_after <= LONGEST_RETRY_AFTER)
        and (result.migrate_to is None or -LARGEST_ID <= result.migrate_to < 0)
        and len(result.detail) <= errors.MAX_DETAIL
    )


SENDS = {
    "sendMessage": (claimed(chat_id=TEAM), Rendered((Text("hello"),))),
    "editMessageText": (claimed(chat_id=TEAM, edits=7), Rendered((Text("hello"),))),
    "sendDocument": (claimed(chat_id=ADA), Rendered((Document("a", b"a", Text("a")),))),
}


@pytest.mark.parametrize("method", SENDS)
async def test_whatever_is_answered_to_a_send_is_a_bounded_result(
    server: Server, bot: Bot, method: str
) -> None:
    sender = Sender(bot, SystemClock())
    message, rendered = SENDS[method]
    seen: set[tuple[Outcome, Reason]] = set()

    async def check() -> None:
        result = await sender.send(message, rendered)
        assert is_bounded(result), result
        assert (result.message_id is not None) == (result.outcome is Outcome.SENT)
        assert (result.migrate_to is not None) == (result.reason is Reason.CHAT_MIGRATED)
        seen.add((result.outcome, result.reason))

    assert await for_each_answer(server, check) >= EXAMPLES
    # The examples reach each kind of result that depends on the answer's content.
    assert {
        (Outcome.SENT, Reason.NONE),
        (Outcome.NOT_SENT, Reason.FLOOD_CONTROL),
        (Outcome.NOT_SENT, Reason.BAD_ANSWER),
        (Outcome.UNKNOWN, Reason.BAD_ANSWER),
    } <= seen


@pytest.mark.parametrize("method", ["getUpdates", "getMe", "getChat", "answerCallbackQuery"])
async def test_whatever_is_answered_to_a_call_is_json_or_the_adapters_error(
    server: Server, bot: Bot, method: str
) -> None:
    async def check() -> None:
        failed: TelegramError | None = None
        try:
            json.dumps(await bot.call(method, {}))
        except TelegramError as error:
            failed = error
        assert failed is None or is_bounded(errors.translate(failed, 0.0, 0.0))
        assert failed is None or len(failed.message) <= 2 * answers.LONGEST_DESCRIPTION

    assert await for_each_answer(server, check) >= EXAMPLES


async def test_whatever_is_answered_to_getme_is_a_bot_or_a_reason(server: Server, bot: Bot) -> None:
    sender = Sender(bot, SystemClock())
    seen: set[answers.Me | Reason] = set()

    async def check() -> None:
        seen.add(await sender.check())

    await for_each_answer(server, check)
    assert {Reason.BAD_ANSWER, Reason.INVALID_TOKEN, Reason.SERVER_ERROR} <= seen


@given(ODD | BOTS)
def test_a_bot_has_an_id_and_perhaps_a_short_username(result: Any) -> None:
    try:
        me = answers.me_of(result)
    except errors.BadAnswerError:
        return
    assert 0 < me.id <= LARGEST_ID
    assert me.username is None or len(me.username) <= answers.LONGEST_USERNAME


def test_the_bot_that_telegram_describes_is_read() -> None:
    described = {"id": 1_000_000_001, "is_bot": True, "first_name": "Bot", "username": "the_bot"}
    assert answers.me_of(described) == Me(1_000_000_001, "the_bot")
