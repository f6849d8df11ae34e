"""Fills a database with queued messages, by the code that accepts events over HTTP."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import asyncpg
import orjson
from sqlalchemy import Connection, text

from benchmarks.programs import FIRST_CHAT
from services.bridge.approvals.from_event import EventApprovals
from services.bridge.events import accept, addressed
from services.bridge.events.accept import Caller
from services.bridge.events.render import render
from services.bridge.routes.routes import Routes
from services.kit.database.connect import open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.delivery import claims
from services.outbox.engine import OPERATIONS
from services.outbox.intake import enqueue
from services.outbox.messages import Submission
from services.outbox.schema import chat, event, message
from services.outbox.telegram.sender import request_of

#: About 400 bytes, as in the other measurements of docs/performance.md.
EVENT = {
    "type": "task_completion",
    "title": "Build finished",
    "description": "All 214 tests pass, and this text is here to make the body about four hundred bytes long",
    "source": "ci",
    "severity": "low",
    "priority": "normal",
    "data": {
        "duration_ms": 1200,
        "files_affected": ["a.py", "b.py", "c.py"],
        "status": "ok",
        "tests_passed": 214,
    },
}
_PORTION = 500


def fill(url: str, chat_ids: Sequence[int], *, one_commit: bool = False) -> None:
    """Stores one event for one recipient for each of the chats, in this order.

    Args:
        url: of a database, new or of a bridge that does not run.
        chat_ids: one message each; a chat may be listed several times.
        one_commit: store all in one transaction; else 500 in each.
    """
    asyncio.run(_fill(url, chat_ids, len(chat_ids) if one_commit else _PORTION))


def request(url: str) -> dict[str, Any]:
    """The parameters of the Bot API call for one of these messages, without its chat.

    Args:
        url: of a new database, used for this only.
    """
    fill(url, [FIRST_CHAT])
    return asyncio.run(_request(url))


async def _request(url: str) -> dict[str, Any]:
    telemetry = Telemetry("benchmark", ServiceSettings())
    database = await open_database(url, telemetry, packages=["services.outbox"], operations=OPERATIONS)
    try:
        work = partial(claims.claim, bot="default", owner="benchmark", limit=1, now=time.time())
        (message,) = (await database.write("claim", work)).messages
    finally:
        await database.close()
    _, parameters = request_of(message, render(message))
    return {name: value for name, value in parameters.items() if name != "chat_id"}


async def _fill(url: str, chat_ids: Sequence[int], portion: int) -> None:
    telemetry = Telemetry("benchmark", ServiceSettings())
    database = await open_database(url, telemetry, packages=["services.outbox"], operations=OPERATIONS)
    try:
        for begin in range(0, len(chat_ids), portion):
            now = time.time()
            submissions = [
                submission(number, chat_id, telemetry, now)
                for number, chat_id in enumerate(chat_ids[begin : begin + portion], begin)
            ]
            await database.write("enqueue", partial(enqueue.insert, submissions=submissions, now=now))
    finally:
        await database.close()


def fill_by_copies(url: str, messages: int, chats: int) -> None:
    """Stores messages for chats 1 to ``chats`` in turn: a thousand by :func:`fill`, then copies of them.

    Args:
        url: of a new database.
        messages: a multiple of a thousand.
        chats: a multiple of a thousand.
    """
    fill(url, range(1, _ORIGINALS + 1))
    asyncio.run(_copy(url, messages // _ORIGINALS, chats))


_ORIGINALS = 1_000
_COPIES_PER_COMMIT = 50


async def _copy(url: str, times: int, chats: int) -> None:
    telemetry = Telemetry("benchmark", ServiceSettings())
    database = await open_database(url, telemetry, packages=["services.outbox"], operations=OPERATIONS)
    try:
        for begin in range(1, times, _COPIES_PER_COMMIT):
            end = min(begin + _COPIES_PER_COMMIT, times) - 1
            await database.write("enqueue", partial(_copies, begin=begin, end=end, chats=chats))
    finally:
        await database.close()


def _copies(connection: Connection, *, begin: int, end: int, chats: int) -> None:
    for table, changed in (
        (event, {"id": _new("event.id")}),
        (message, {"id": _new("message.id"), "event_id": _new("event.id"), "chat_id": _NEW_CHAT}),
        (chat, {"chat_id": _NEW_CHAT}),
    ):
        # Copies get new numbers, in the order in which fill() would have stored them.
        names = [column.name for column in table.columns if column is not message.c.seq]
        values = ", ".join(changed.get(name, f"{table.name}.{name}") for name in names)
        query = f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {values} {_ORIGINAL_AND_COPY}"
        if table is chat:
            query += " ON CONFLICT (bot, chat_id) DO NOTHING"
        parameters = {"begin": begin, "end": end, "size": _ORIGINALS, "chats": chats}
        connection.execute(text(query), parameters)


_NEW_CHAT = "(message.chat_id + copy.number * CAST(:size AS INTEGER) - 1) % CAST(:chats AS INTEGER) + 1"
_ORIGINAL_AND_COPY = """
FROM (
  WITH RECURSIVE numbers (number) AS (
    SELECT CAST(:begin AS INTEGER) UNION ALL
    SELECT number + 1 FROM numbers WHERE number < CAST(:end AS INTEGER)
  )
  SELECT number FROM numbers
) AS copy
JOIN message ON message.seq <= CAST(:size AS INTEGER)
JOIN event ON event.id = message.event_id
JOIN chat ON chat.bot = message.bot AND chat.chat_id = message.chat_id
WHERE true ORDER BY copy.number, message.seq
"""


def _new(identifier: str) -> str:
    """SQL for an id with the prefix of the original's and the number of the copy."""
    number = "copy.number * CAST(:size AS INTEGER) + message.seq"
    return f"substr({identifier}, 1, 24) || substr(CAST(1000000000000 + {number} AS TEXT), 2)"


def submission(number: int, chat_id: int, telemetry: Telemetry, now: float) -> Submission:
    body = orjson.dumps(EVENT | {"title": f"Build {number} finished", "chat_id": chat_id})
    reading = accept.accept(
        addressed.address(body, Routes()),
        Caller("benchmark", None, "", None),
        telemetry.new_trace(),
        now=now,
        trace_url="",
        asks=EventApprovals({}, 60.0),
    )
    return reading.submission


def chats(count: int) -> range:
    return range(FIRST_CHAT, FIRST_CHAT + count)


def delivered(url: str) -> list[tuple[float, float]]:
    """The times (claimed, settled) of all sent attempts, by time of settling."""
    return rows(url, "SELECT claimed_at, settled_at FROM attempt WHERE outcome = 'sent' ORDER BY settled_at")


def rows(url: str, query: str) -> list[Any]:
    """Runs a query directly on the database, not through a service."""
    if not url.startswith("sqlite:///"):
        return asyncio.run(_fetch(url, query))
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


async def _fetch(url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


def per_second(times: Sequence[tuple[float, float]]) -> float:
    """Messages a second from the first claim to the last settle."""
    return len(times) / (times[-1][1] - min(claimed for claimed, _ in times))
