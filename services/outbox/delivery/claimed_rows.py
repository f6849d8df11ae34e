"""Claimed rows: reads messages with all columns that a sender needs, and the messages that they edit."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from services.kit.database.json_rows import Statement
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.chats.chat_heads import ChatRow
from services.outbox.delivery.plan import Target
from services.outbox.messages import Claimed, Lane, MessageState, Origin, UnknownPolicy
from services.outbox.rate_limit.bot_rate_limiter import LimitedSince
from services.outbox.schema import event, message

#: In the order in which :func:`claimed` unpacks them.
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
    event.c.origin,
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
    """Rows of messages by their numbers, for :func:`claimed`."""
    return _BY_SEQ.run(connection, [(seq,) for seq in sorted(seqs)]).all()


def load(
    connection: Connection,
    seqs: Iterable[int],
    chats: Mapping[int, ChatRow],
    now: float,
    paced_since: LimitedSince,
) -> tuple[list[Claimed], dict[int, Target]]:
    """Loads the next messages of leased chats.

    Args:
        connection: in a transaction.
        seqs: numbers of the messages.
        chats: rows of their chats, by id.
        now: seconds since the epoch.
        paced_since: since when the bot's rate has delayed messages.

    Returns:
        The messages; and by the number of an edit its target, where Telegram's id of that is not known.
    """
    rows = by_seq(connection, seqs)
    telegram_ids = _telegram_ids(connection, rows)
    messages: list[Claimed] = []
    without_id: list[int] = []
    for row in rows:
        wait = _limiter_wait(row, chats[row.chat_id], now, paced_since.of(Lane(row.lane)))
        message = claimed(row, now, wait, row.attempts + 1, telegram_ids.get(row.edits))
        messages.append(message)
        if row.edits and message.edits is None:
            without_id.append(message.seq)
    return messages, _targets(connection, without_id)


def behind(connection: Connection, first: Claimed, most: int, now: float) -> list[Claimed]:
    """The queued messages of a message's chat and lane that are due, but for that message."""
    query = (
        MESSAGES.where(
            message.c.bot == first.bot,
            message.c.chat_id == first.chat_id,
            message.c.lane == int(first.lane),
            message.c.state == MessageState.QUEUED.value,
            message.c.due_at <= now,
            message.c.seq != first.seq,
        )
        .order_by(message.c.due_at, message.c.seq)
        .limit(most)
    )
    return [claimed(row, now, 0.0, row.attempts) for row in connection.execute(query)]


def in_flight(connection: Connection, bot: str, chat_ids: Iterable[int], now: float) -> list[Claimed]:
    """The messages of chats with an open attempt; after a crash they may have been sent or not."""
    query = MESSAGES.where(
        message.c.bot == bot,
        message.c.chat_id.in_(sorted(chat_ids)),
        message.c.state == MessageState.SENDING.value,
    )
    rows = connection.execute(query).all()
    telegram_ids = _telegram_ids(connection, rows)
    return [claimed(row, now, 0.0, row.attempts, telegram_ids.get(row.edits)) for row in rows]


def _limiter_wait(row: Any, chat: ChatRow, now: float, paced_since: float | None) -> float:
    """Seconds that Telegram's rates, of the chat and of the bot, delayed a due message."""
    due_at = max(row.accepted_at, row.due_at, row.replayed_at or 0.0)
    by_chat = max(0.0, min(chat["open_at"], now) - max(due_at, chat["sent_at"]))
    by_bot = 0.0 if paced_since is None else max(0.0, now - max(due_at, chat["open_at"], paced_since))
    return float(by_chat + by_bot)


def _telegram_ids(connection: Connection, rows: Sequence[Any]) -> dict[str, int | None]:
    """Telegram's ids of the messages that some of the rows edit, by our ids."""
    edited = sorted(row.edits for row in rows if row.edits is not None)
    if not edited:
        return {}
    found = connection.execute(
        select(message.c.id, message.c.telegram_message_ids).where(message.c.id.in_(edited))
    )
    return {row.id: _last(row.telegram_message_ids) for row in found}


def _last(ids: str) -> int | None:
    return int(ids.rpartition(",")[2]) if ids else None


def _targets(connection: Connection, edits: Sequence[int]) -> dict[int, Target]:
    """The targets of edits, by the numbers of the edits."""
    if not edits:
        return {}
    return {
        row.seq: Target(
            row.target, None if row.state is None else MessageState(row.state), row.update_key is not None
        )
        for row in connection.execute(_TARGETS.where(message.c.seq.in_(sorted(edits))))
    }


_target = message.alias("target")
_TARGETS = select(
    message.c.seq,
    message.c.update_key,
    _target.c.seq.label("target"),
    _target.c.state,
).join_from(message, _target, _target.c.id == message.c.edits, isouter=True)


def claimed(row: Any, now: float, limiter_wait: float, number: int, edits: int | None = None) -> Claimed:
    """Makes a message of a row.

    Args:
        row: of :data:`MESSAGES` or :func:`by_seq`.
        now: when it is claimed, seconds since the epoch.
        limiter_wait: seconds that Telegram's rates delayed it.
        number: of the attempt.
        edits: Telegram's id of the message that it edits.
    """
    # Unpacked by position: one value by its name costs as much as ten so.
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
        origin,
        _edits,
        resends,
        replayed_at,
    ) = row
    trace = TraceContext.parse(traceparent)
    assert trace is not None, traceparent  # noqa: S101 - this package wrote it
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
        origin=Origin(origin),
        edits=edits,
        resends=resends,
        replayed_at=replayed_at,
    )
