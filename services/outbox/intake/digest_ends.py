"""The end of a digest: its messages are combined into one, and end as that one does.

Every step is a transaction that takes the digest's row by its phase: of several replicas one makes it, and
after a crash the next one goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, or_, select, update

from services.outbox.chats import chat_queue, chat_state, locks, message_changes
from services.outbox.intake.digests import Phase
from services.outbox.messages import (
    AT_ONCE,
    FINISHED,
    IN_DIGEST,
    MessageState,
    Reason,
)
from services.outbox.schema import chat, digest, digest_member, event, in_state, message


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest whose window is over.

    Args:
        id: its own.
        client: name of the API key that posted its events.
        key: the client's own.
        bot: that sends it.
        chat_id: that gets it; of a group that became a supergroup, the supergroup.
        thread_id: topic of the chat.
        settings: of the chat, as they are stored.
    """

    id: str
    client: str
    key: str
    bot: str
    chat_id: int
    thread_id: int | None
    settings: str | None


@dataclass(frozen=True, slots=True)
class Followed:
    """How the messages of a digest ended: as its own message."""

    state: MessageState
    reason: Reason
    messages: int


def due(connection: Connection, now: float, most: int) -> list[str]:
    """Ids of digests whose window is over."""
    over = (digest.c.phase == Phase.COLLECTING.value, digest.c.until <= now)
    query = select(digest.c.id).where(*over).order_by(digest.c.until).limit(most)
    return list(connection.execute(query).scalars())


def take(connection: Connection, digest_id: str, now: float) -> Digest | None:
    """Takes a digest to combine its messages in this transaction; None if another replica has.

    No further message joins it, and none of its chat is claimed before the commit.
    """
    taken = (
        update(digest)
        .where(digest.c.id == digest_id, digest.c.phase == Phase.COLLECTING.value, digest.c.until <= now)
        .values(phase=Phase.ENDED.value)
        .returning(digest)
    )
    row = connection.execute(taken).first()
    if row is None:
        return None
    chat_id = chat_state.lock_current(connection, row.bot, row.chat_id)
    # Messages that are not moved to a supergroup yet are still of the group.
    locks.lock_chats(connection, _chats(connection, digest_id))
    here = (chat.c.bot == row.bot, chat.c.chat_id == chat_id)
    settings = connection.execute(select(chat.c.settings).where(*here)).scalar()
    return Digest(row.id, row.client, row.key, row.bot, chat_id, row.thread_id, settings)


def waiting(connection: Connection, digest_id: str, now: float) -> Sequence[Row[Any]]:
    """The messages of a taken digest, in the order of their acceptance; those that have expired end.

    Returns:
        Rows with the columns of ``message``, and ``title`` and ``severity`` of the event.
    """
    query = (
        select(message, event.c.title, event.c.severity)
        .join(event, event.c.id == message.c.event_id)
        .join(digest_member, digest_member.c.message_id == message.c.id)
        .where(digest_member.c.digest_id == digest_id, _WAITS)
        .order_by(message.c.seq)
    )
    rows = connection.execute(query).all()
    late = [row.seq for row in rows if row.expires_at is not None and row.expires_at <= now]
    message_changes.finish(
        connection, late, MessageState.EXPIRED, Reason.EXPIRED, cause="expires_at has passed", now=now
    )
    return [row for row in rows if row.seq not in late]


def send_alone(connection: Connection, digest_: Digest, row: Row[Any], now: float) -> None:
    """Lets the only message of a digest go by itself, as it is."""
    alone = {"due_at": AT_ONCE, "waits_from": now}
    connection.execute(update(message).where(message.c.seq == row.seq).values(alone))
    connection.execute(delete(digest_member).where(digest_member.c.digest_id == digest_.id))
    cause = f"the only message of the digest {digest_.key}: it is sent as it is"
    message_changes.note(connection, row.seq, MessageState.QUEUED, cause, now)
    chats = {(row.bot, row.chat_id): (now, int(row.lane))}
    chat_queue.add(connection, chats, {(row.bot, row.chat_id): digest_.client})


def combine(
    connection: Connection, digest_: Digest, rows: Sequence[Row[Any]], message_id: str, now: float
) -> None:
    """Notes that messages are shown by the digest's message, which is stored in the same transaction.

    Args:
        connection: in the transaction that took the digest.
        digest_: that was taken.
        rows: of :func:`waiting`.
        message_id: of the digest's message.
        now: seconds since the epoch.
    """
    sending = {"phase": Phase.SENDING.value, "message_id": message_id, "members": len(rows)}
    connection.execute(update(digest).where(digest.c.id == digest_.id).values(sending))
    # They do not count as waiting: their message does.
    seqs = [row.seq for row in rows]
    connection.execute(update(message).where(message.c.seq.in_(seqs)).values(waits_from=IN_DIGEST))
    for seq in seqs:
        cause = f"shown by message {message_id}, the digest {digest_.key}"
        message_changes.note(connection, seq, MessageState.QUEUED, cause, now)
    ids = [row.id for row in rows]
    others = (digest_member.c.digest_id == digest_.id, digest_member.c.message_id.not_in(ids))
    connection.execute(delete(digest_member).where(*others))
    if any(row.possible_duplicate for row in rows):
        doubtful = update(message).where(message.c.id == message_id)
        connection.execute(doubtful.values(possible_duplicate=True, resends=1))


def ended(connection: Connection, most: int) -> list[str]:
    """Ids of digests whose message has ended, and whose other messages have not."""
    query = (
        select(digest.c.id)
        .join(message, message.c.id == digest.c.message_id)
        .where(digest.c.phase == Phase.SENDING.value, message.c.finished_at.is_not(None))
    )
    return list(connection.execute(query.limit(most)).scalars())


def follow(connection: Connection, digest_id: str, now: float) -> Followed | None:
    """Ends the messages of a digest as its own message ended; None if another replica has, or it goes on."""
    taken = (
        update(digest)
        .where(digest.c.id == digest_id, digest.c.phase == Phase.SENDING.value)
        .values(phase=Phase.ENDED.value)
        .returning(digest.c.message_id, digest.c.until)
    )
    its = connection.execute(taken).first()
    if its is None:
        return None
    locks.lock_chats(connection, _chats(connection, digest_id))
    shown = connection.execute(select(message).where(message.c.id == its.message_id)).one()
    if shown.finished_at is None:  # replayed since
        connection.execute(update(digest).where(digest.c.id == digest_id).values(phase=Phase.SENDING.value))
        return None
    of_digest = select(digest_member.c.message_id).where(digest_member.c.digest_id == digest_id)
    query = select(message.c.seq).where(
        message.c.id.in_(of_digest), message.c.state != shown.state, or_(_WAITS, _ENDED_WITH_IT)
    )
    seqs = connection.execute(query.order_by(message.c.seq)).scalars().all()
    state, reason = MessageState(shown.state), Reason(shown.reason)
    if seqs:
        _end(connection, seqs, shown, its.until, now)
    return Followed(state, reason, len(seqs))


def _end(connection: Connection, seqs: Sequence[int], shown: Row[Any], until: float, now: float) -> None:
    """Ends messages in the state of the message that shows them."""
    ended_so = {
        "state": shown.state,
        "reason": shown.reason,
        "possible_duplicate": shown.possible_duplicate,
        "finished_at": now,
        "due_at": AT_ONCE,
        "waits_from": until,
    }
    connection.execute(update(message).where(message.c.seq.in_(seqs)).values(ended_so))
    changed = [(seq, MessageState(shown.state)) for seq in seqs]
    message_changes.record(connection, changed, f"{shown.state} with message {shown.id}", now)


def reopen(connection: Connection, seqs: Sequence[int]) -> None:
    """Lets the messages of digests follow these messages again: they are replayed.

    Args:
        connection: in a transaction that has not locked messages yet.
        seqs: numbers of messages, of digests or not.
    """
    ids = select(message.c.id).where(message.c.seq.in_(seqs))
    connection.execute(update(digest).where(digest.c.message_id.in_(ids)).values(phase=Phase.SENDING.value))


def _chats(connection: Connection, digest_id: str) -> list[tuple[str, int]]:
    """The chats of a digest's messages."""
    query = (
        select(message.c.bot, message.c.chat_id)
        .join(digest_member, digest_member.c.message_id == message.c.id)
        .where(digest_member.c.digest_id == digest_id)
        .distinct()
    )
    return [(row.bot, row.chat_id) for row in connection.execute(query)]


#: A message that waits in a digest.
_WAITS: ColumnElement[bool] = and_(in_state(MessageState.QUEUED), message.c.due_at >= IN_DIGEST)
#: A message that ended undelivered with its digest.
_ENDED_WITH_IT = message.c.state.in_(
    [state.value for state in FINISHED if state is not MessageState.DELIVERED]
)
#: Id of the message that shows a message beside others: it is not cancelled or replayed by itself.
SHOWN_BY = (
    select(digest.c.message_id)
    .join(digest_member, digest_member.c.digest_id == digest.c.id)
    .where(digest_member.c.message_id == message.c.id)
    .correlate(message)
    .scalar_subquery()
)
