"""Enqueue on PostgreSQL as one statement: keys, events, messages, the change feed and the queue of chats.

The rows are sent as JSON, one text for each table: a group of any size is one round trip and one
prepared plan, instead of an execution for each row.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection

from services.kit.database.postgres import PostgresDatabase
from services.outbox.chats import chat_queue
from services.outbox.intake import row_records
from services.outbox.messages import EventRecord, MessageRecord, Submission
from services.outbox.schema import IS_SCHEDULED

# A submission whose key is stored is left out, and its number is returned. The keys come first and the
# chats last, each in one order: two transactions must not deadlock.
_TABLES = f"""
WITH given_key AS MATERIALIZED (
  SELECT * FROM json_to_recordset($1::text::json) AS given (
    submission int, client text, key text, body_hash text, answer text, created_at float8)
),
new_key AS (
  INSERT INTO idempotency (client, key, body_hash, answer, created_at)
  SELECT client, key, body_hash, answer, created_at FROM given_key ORDER BY client, key
  ON CONFLICT DO NOTHING
  RETURNING client, key
),
known AS MATERIALIZED (
  SELECT submission FROM given_key WHERE (client, key) NOT IN (SELECT client, key FROM new_key)
),
new_event AS (
  INSERT INTO event (
    id, type, category, title, source, severity, body, correlation_id, client, traceparent,
    accepted_at, written_at, callback_url, origin)
  SELECT
    id, type, category, title, source, severity, body, correlation_id, client, traceparent,
    accepted_at, written_at, callback_url, origin
  FROM json_to_recordset($2::text::json) AS given (
    submission int, id text, type text, category text, title text, source text, severity text, body text,
    correlation_id text, client text, traceparent text, accepted_at float8, written_at float8,
    callback_url text, origin text)
  WHERE submission NOT IN (SELECT submission FROM known)
),
fresh AS MATERIALIZED (
  SELECT * FROM json_to_recordset($3::text::json) AS given (
    submission int, place int, client text, id text, event_id text, type text, bot text, chat_id bigint,
    thread_id bigint, lane smallint, silent boolean, on_unknown text, state text, due_at float8,
    expires_at float8, accepted_at float8, edits text, update_key text, update_client text, update_at float8,
    waits_from float8)
  WHERE submission NOT IN (SELECT submission FROM known)
),
new_message AS (
  INSERT INTO message (
    id, event_id, type, bot, chat_id, thread_id, lane, silent, on_unknown, state, due_at, expires_at,
    accepted_at, edits, update_key, update_client, update_at, waits_from, attempts, retries, resends, part,
    possible_duplicate, plain, telegram_message_ids, reason)
  SELECT
    id, event_id, type, bot, chat_id, thread_id, lane, silent, on_unknown, state, due_at, expires_at,
    accepted_at, edits, update_key, update_client, update_at, waits_from, 0, 0, 0, 0, false, false, '', 'none'
  FROM fresh ORDER BY place
  RETURNING seq
),
new_change AS (
  INSERT INTO feed (at, changes)
  SELECT $4::float8, json_agg(json_build_array(id, state, 0, '') ORDER BY place)::text
  FROM fresh HAVING count(*) > 0
),
queued_chat AS (
  INSERT INTO chat (
    bot, chat_id, next_at, lane, client, lease_until, tokens, group_tokens, sent_at, open_at)
  SELECT
    bot, chat_id, min(CASE WHEN {IS_SCHEDULED} THEN due_at ELSE $4::float8 END), min(lane),
    (array_agg(client ORDER BY place))[1], 0, 0, 0, 0, 0
  FROM fresh WHERE (SELECT count(*) FROM new_message) > 0
  GROUP BY bot, chat_id ORDER BY bot, chat_id"""  # noqa: S608 - constants
_STATEMENT = (
    _TABLES
    + chat_queue.UNLESS_SOONER
    + """)
SELECT submission FROM known
"""
)


async def store(database: PostgresDatabase, submissions: Sequence[Submission], now: float) -> set[int]:
    """Stores submissions in a new transaction.

    Returns:
        The positions of the submissions that were not stored, because their idempotency key is stored.
    """
    keys = ((n, s.idempotency) for n, s in enumerate(submissions))
    given = [row_records.of_key(key, now) | {"submission": n} for n, key in keys if key is not None]
    pairs = [
        (n, e, messages)
        for n, s in enumerate(submissions)
        for e, messages in zip(s.events, s.messages, strict=True)
    ]
    found = await database.execute("enqueue", _STATEMENT, _json(given), *_arguments(pairs, now))
    return {row["submission"] for row in found}


def insert(
    connection: Connection, events: Sequence[tuple[EventRecord, Sequence[MessageRecord]]], now: float
) -> None:
    """Writes events with their messages, in a transaction of the caller's."""
    pairs = ((0, e, messages) for e, messages in events)
    connection.exec_driver_sql(_STATEMENT, (_json([]), *_arguments(pairs, now)))


def _arguments(
    pairs: Iterable[tuple[int, EventRecord, Sequence[MessageRecord]]], now: float
) -> tuple[str, str, float]:
    events: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    for n, e, of_event in pairs:
        events.append(row_records.of_event(e, now) | {"submission": n})
        messages.extend(
            row_records.of_message(e, m) | {"submission": n, "place": place, "client": e.client}
            for place, m in enumerate(of_event, len(messages))
        )
    return _json(events), _json(messages), now


def _json(records: Sequence[object]) -> str:
    return orjson.dumps(records).decode()
