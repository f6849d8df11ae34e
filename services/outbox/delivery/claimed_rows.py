"""Rows of the database as messages that a worker can send, with what they are an edit of."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from services.kit.database.json_rows import Statement
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.chats.chat_queue import ChatRow
from services.outbox.messages import Claimed, Lane, State, UnknownPolicy
from services.outbox.rate_limit.bot_rate_limiter import LimitedSince
from services.outbox.schema import event, message

#: In the order in which :func:`claimed` takes them.
_COLUMNS = (
    message.c.seq,
    message.c.id,
    message.c.event_id,
    message.c.type,
    event.c.category,
    event.c.source,
    event.c.title,
    event.c.body,
    event.c.correlation_id,
    event.c.traceparent,
    message.c.bot,
    message.c.chat_id,
    message.c.thread_id,
    message.c.lane,
    message.c.silent,
    message.c.on_unknown,
    message.c.accepted_at,
    message.c.due_at,
    message.c.expires_at,
    message.c.attempts,
    message.c.retries,
    message.c.part,
    message.c.possible_duplicate,
    message.c.plain,
    message.c.telegram_message_ids,
    event.c.severity,
    message.c.edits,
    message.c.resends,
    message.c.replayed_at,
)
MESSAGES = select(*_COLUMNS).join(event, message.c.event_id == event.c.id)
_BY_SEQ = Statement(
    f"SELECT {', '.join(map(str, _COLUMNS))} FROM message JOIN event ON event.id = message.event_id"  # noqa: S608 - constants
    " WHERE message.seq {among}",
    seq="bigint",
)


def by_seq(connection: Connection, seqs: Iterable[int]) -> Sequence[Any]:
    """Rows of messages, for :func:`claimed`."""
    return _BY_SEQ.run(connection, [(seq,) for seq in sorted(seqs)]).all()


def load(
    connection: Connection,
    seqs: Iterable[int],
    rows: Mapping[int, Any],
    now: float,
    paced_since: LimitedSince,
) -> tuple[list[Claimed], list[Claimed]]:
    """The messages that can be sent, and the edits of what does not stand in the chat."""
    found = by_seq(connection, seqs)
    targets = _targets(connection, found)
    fine: list[Claimed] = []
    baseless: list[Claimed] = []
    for row in found:
        wait = _limiter_wait(row, rows[row.chat_id], now, paced_since.of(Lane(row.lane)))
        message = claimed(row, now, wait, row.attempts + 1, targets.get(row.edits))
        (baseless if row.edits and message.edits is None else fine).append(message)
    return fine, baseless


def in_flight(connection: Connection, bot: str, chat_ids: Iterable[int], now: float) -> list[Claimed]:
    """The messages of leased chats whose attempt is open: after a crash, nobody knows if they arrived."""
    open_ones = MESSAGES.where(
        message.c.bot == bot,
        message.c.chat_id.in_(sorted(chat_ids)),
        message.c.state == State.SENDING.value,
    )
    rows = connection.execute(open_ones).all()
    targets = _targets(connection, rows)
    return [claimed(row, now, 0.0, row.attempts, targets.get(row.edits)) for row in rows]


def _limiter_wait(row: Any, of: ChatRow, now: float, paced_since: float | None) -> float:
    """How long the message could have gone but for Telegram's rates, of its chat and of the bot."""
    could_go = max(row.accepted_at, row.due_at, row.replayed_at or 0.0)
    by_chat = max(0.0, min(of["open_at"], now) - max(could_go, of["sent_at"]))
    by_bot = 0.0 if paced_since is None else max(0.0, now - max(could_go, of["open_at"], paced_since))
    return float(by_chat + by_bot)


def _targets(connection: Connection, rows: Sequence[Any]) -> dict[str, int | None]:
    """Telegram's ids of the messages that some of the rows edit, by ours."""
    wanted = sorted(row.edits for row in rows if row.edits is not None)
    if not wanted:
        return {}
    found = connection.execute(
        select(message.c.id, message.c.telegram_message_ids).where(message.c.id.in_(wanted))
    )
    return {row.id: _last(row.telegram_message_ids) for row in found}


def _last(ids: str) -> int | None:
    return int(ids.rpartition(",")[2]) if ids else None


def claimed(row: Any, now: float, limiter_wait: float, number: int, edits: int | None = None) -> Claimed:
    """A row as a message.

    Args:
        row: of :data:`MESSAGES` or :func:`by_seq`.
        now: when it was claimed.
        limiter_wait: seconds.
        number: of the attempt.
        edits: Telegram's id of the message that it edits.
    """
    # By their places: each look by name costs as much as ten of these.
    (
        seq,
        identifier,
        event_id,
        kind,
        category,
        source,
        title,
        body,
        correlation_id,
        traceparent,
        bot,
        chat_id,
        thread_id,
        lane,
        silent,
        on_unknown,
        accepted_at,
        due_at,
        expires_at,
        _attempts,
        retries,
        part,
        possible_duplicate,
        plain,
        ids,
        severity,
        _edits,
        resends,
        replayed_at,
    ) = row
    trace = TraceContext.parse(traceparent)
    assert trace is not None, traceparent  # noqa: S101 - we wrote it ourselves
    return Claimed(
        seq=seq,
        id=identifier,
        event_id=event_id,
        event_type=kind,
        category=category,
        source=source,
        title=title,
        body=body,
        correlation_id=correlation_id,
        trace=trace,
        bot=bot,
        chat_id=chat_id,
        thread_id=thread_id,
        lane=Lane(lane),
        silent=bool(silent),
        on_unknown=UnknownPolicy(on_unknown),
        accepted_at=accepted_at,
        due_at=due_at,
        expires_at=expires_at,
        claimed_at=now,
        limiter_wait=limiter_wait,
        attempt=number,
        retries=retries,
        part=part,
        possible_duplicate=bool(possible_duplicate),
        plain=bool(plain),
        telegram_message_ids=tuple(int(i) for i in ids.split(",")) if ids else (),
        severity=severity,
        edits=edits,
        resends=resends,
        replayed_at=replayed_at,
    )
