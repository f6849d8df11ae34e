"""Claimed rows: reads messages with all columns that a sender needs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from sqlalchemy import Connection, literal_column, select

from services.kit.database.json_rows import Statement
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.chats.chat_heads import ChatRow
from services.outbox.delivery import edit_targets
from services.outbox.delivery.edit_targets import EditTarget
from services.outbox.delivery.plan import Target
from services.outbox.files import attached
from services.outbox.messages import Claimed, EventFile, Lane, MessageState, Origin, Reason, UnknownPolicy
from services.outbox.rate_limit.bot_rate_limiter import LimitedSince
from services.outbox.schema import event, message

log = structlog.get_logger()

#: In the order in which :func:`claimed` unpacks them.
_COLUMNS: tuple[Any, ...] = (
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
    message.c.waits_from,
    message.c.reason,
    literal_column(attached.HAS_FILES),
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
    edited = edit_targets.read(connection, rows)
    files = _files(connection, rows)
    messages: list[Claimed] = []
    for row in rows:
        since = paced_since.of(_LANES.get(row.lane, Lane.NORMAL))
        wait = _limiter_wait(row, chats[row.chat_id], now, since)
        edit = edited.get(row.seq)
        messages.append(claimed(row, now, wait, row.attempts + 1, edit, files.get(row.event_id, ())))
    without_id = {seq: its.target for seq, its in edited.items() if its.telegram_id is None}
    return messages, without_id


def _files(connection: Connection, rows: Sequence[Any]) -> dict[str, tuple[EventFile, ...]]:
    """The files of the rows' events, by event; a second query only where one has files."""
    return attached.read(connection, {row.event_id for row in rows if row[-1]})


def behind(connection: Connection, first: Claimed, most: int, now: float) -> list[Claimed]:
    """The queued messages of a message's chat and lane that are due, but for that message and for edits."""
    query = (
        MESSAGES.where(
            message.c.bot == first.bot,
            message.c.chat_id == first.chat_id,
            message.c.lane == int(first.lane),
            message.c.state == MessageState.QUEUED.value,
            message.c.due_at <= now,
            message.c.seq != first.seq,
            message.c.edits.is_(None),
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
    edited, files = edit_targets.read(connection, rows), _files(connection, rows)
    return [
        claimed(row, now, 0.0, row.attempts, edited.get(row.seq), files.get(row.event_id, ())) for row in rows
    ]


def _limiter_wait(row: Any, chat: ChatRow, now: float, paced_since: float | None) -> float:
    """Seconds that Telegram's rates, of the chat and of the bot, delayed a due message."""
    due_at = max(row.accepted_at, row.due_at, row.replayed_at or 0.0)
    by_chat = max(0.0, min(chat["open_at"], now) - max(due_at, chat["sent_at"]))
    by_bot = 0.0 if paced_since is None else max(0.0, now - max(due_at, chat["open_at"], paced_since))
    return float(by_chat + by_bot)


def claimed(  # noqa: PLR0917 - what a row does not have
    row: Any,
    now: float,
    limiter_wait: float,
    number: int,
    edited: EditTarget | None = None,
    files: tuple[EventFile, ...] = (),
) -> Claimed:
    """Makes a message of a row. One whose row cannot be read has no body: it ends as not rendered.

    Args:
        row: of :data:`MESSAGES` or :func:`by_seq`.
        now: when it is claimed, seconds since the epoch.
        limiter_wait: seconds that Telegram's rates delayed it.
        number: of the attempt.
        edited: what it edits; None: it is sent as a new message.
        files: of its event.
    """
    try:
        made = _claimed(row, now, limiter_wait, number, edited)
    except (AttributeError, TypeError, ValueError) as error:
        log.warning("message_unreadable", message_id=row.id, error=f"{type(error).__name__}: {error}")
        made = _claimed(_sound(row), now, limiter_wait, number, edited)
    return replace(made, files=files) if files else made


def _sound(row: Any) -> Sequence[Any]:
    """The values of a row with the odd ones replaced, and without its body."""
    sound = {
        "body": "",
        "traceparent": _NO_TRACE,
        "lane": _LANES.get(row.lane, Lane.NORMAL),
        "on_unknown": UnknownPolicy.HOLD,
        "origin": Origin.CLIENT,
        "telegram_message_ids": "",
    }
    return [sound.get(name, value) for name, value in row._mapping.items()]  # noqa: SLF001 - SQLAlchemy's public name


_LANES = {int(lane): lane for lane in Lane}
_NO_TRACE = f"00-{1:032x}-{1:016x}-00"


def _claimed(row: Any, now: float, limiter_wait: float, number: int, edited: EditTarget | None) -> Claimed:
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
        waits_from,
        reason,
        _has_files,
    ) = row
    trace = TraceContext.parse(traceparent)
    if trace is None:
        raise ValueError(f"no traceparent: {traceparent}")
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
        edits=edited.telegram_id if edited else None,
        resends=resends,
        replayed_at=replayed_at,
        waits_from=waits_from or 0.0,
        unseen_copy=edited is not None and edited.unseen_copy,
        to_general=reason == Reason.THREAD_NOT_FOUND.value,
    )
