"""Settle: what attempts came to is written, and the chats are given back."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, bindparam, func, literal_column, select, update

from services.kit.db import upsert
from services.outbox import chats, destinations, feed, limiter
from services.outbox.chats import ChatRow
from services.outbox.limiter import ChatPace, Limits
from services.outbox.messages import FINISHED, Reason, Settled, State
from services.outbox.schema import attempt, bot, chat, message

_ATTEMPT = (
    "started_at",
    "finished_at",
    "settled_at",
    "outcome",
    "reason",
    "state",
    "detail",
    "telegram_message_id",
    "retry_after",
)
_MESSAGE = (
    "state",
    "due_at",
    "finished_at",
    "retries",
    "resends",
    "part",
    "possible_duplicate",
    "plain",
    "telegram_message_ids",
    "reason",
)
#: No request left the machine: Telegram's rates were not used.
_NO_CALL = frozenset({Reason.CONNECT_FAILED, Reason.RENDER_FAILED})


_CURRENT = (
    select(message.c.seq, message.c.attempts, message.c.state)
    .where(message.c.seq.in_(bindparam("seqs", expanding=True)))
    .with_for_update()
)
_WRITE_MESSAGE = (
    update(message)
    .where(message.c.seq == bindparam("b_seq"))
    .values({name: bindparam(name) for name in _MESSAGE})
)
_CLOSE_ATTEMPT = (
    update(attempt)
    .where(attempt.c.message_seq == bindparam("b_seq"), attempt.c.number == bindparam("b_number"))
    .values({name: bindparam(name) for name in _ATTEMPT})
)


def settle(
    connection: Connection, owner: str, settled: Sequence[Settled], limits: Limits, now: float
) -> set[int]:
    """Writes what attempts came to and gives the chats back.

    Returns:
        The numbers of messages that another worker has taken over meanwhile: the result is noted
        in the attempt, the message's fate is the other's. Only news of a delivery still counts,
        while nobody has tried again.
    """
    seqs = [s.message.seq for s in settled]
    rows = {row.seq: row for row in connection.execute(_CURRENT, {"seqs": seqs})}
    in_time = [s for s in settled if _is_open(s, rows.get(s.message.seq))]
    late = [s for s in settled if _is_news(s, rows.get(s.message.seq))]
    _write_messages(connection, [*in_time, *late], now)
    connection.execute(_CLOSE_ATTEMPT, [_attempt_row(s, now) for s in settled])
    for s in settled:
        decision = s.decision
        if decision.block_chat or decision.migrate_to or decision.stop_bot or decision.as_new:
            _change_destination(connection, s, now)
    _release(connection, owner, in_time, limits, now)
    return set(seqs) - {s.message.seq for s in (*in_time, *late)}


def _is_open(s: Settled, row: Any) -> bool:
    """Whether this is still the message's last attempt, and nobody has settled it."""
    return row is not None and row.attempts == s.message.attempt and row.state == State.SENDING.value


def _is_news(s: Settled, row: Any) -> bool:
    """Whether a message that was taken over, and not tried again, turns out to be delivered."""
    if s.decision.state is not State.DELIVERED or row is None or row.attempts != s.message.attempt:
        return False
    return bool(row.state != State.SENDING.value)


def _write_messages(connection: Connection, settled: Sequence[Settled], now: float) -> None:
    if settled:
        connection.execute(_WRITE_MESSAGE, [_message_row(s, now) for s in settled])
        feed.write(connection, [_entry(s) for s in settled], now)


def _entry(s: Settled) -> feed.Entry:
    reason = "" if s.result.reason is Reason.NONE else s.result.reason.value
    return s.message.seq, s.decision.state.value, s.message.attempt, reason


def _message_row(s: Settled, now: float) -> dict[str, Any]:
    decision = s.decision
    ids = s.message.telegram_message_ids
    if s.result.message_id is not None:
        ids = (*ids, s.result.message_id)
    return {
        "b_seq": s.message.seq,
        "state": decision.state.value,
        "due_at": decision.due_at,
        "finished_at": now if decision.state in FINISHED else None,
        "retries": decision.retries,
        "resends": decision.resends,
        "part": decision.part,
        "possible_duplicate": decision.possible_duplicate,
        "plain": decision.plain,
        "telegram_message_ids": ",".join(map(str, ids)),
        "reason": s.result.reason.value,
    }


def _attempt_row(s: Settled, now: float) -> dict[str, Any]:
    return {
        "b_seq": s.message.seq,
        "b_number": s.message.attempt,
        "started_at": s.result.started_at,
        "finished_at": s.result.finished_at,
        "settled_at": now,
        "outcome": s.result.outcome.value,
        "reason": s.result.reason.value,
        "state": s.decision.state.value,
        "detail": s.result.detail,
        "telegram_message_id": s.result.message_id,
        "retry_after": s.result.retry_after,
    }


def _change_destination(connection: Connection, s: Settled, now: float) -> None:
    here = (chat.c.bot == s.message.bot, chat.c.chat_id == s.message.chat_id)
    if s.decision.as_new:
        connection.execute(update(message).where(message.c.seq == s.message.seq).values(edits=None))
    if s.decision.block_chat is not None:
        connection.execute(update(chat).where(*here).values(blocked=s.decision.block_chat.value))
    if s.decision.migrate_to is not None:
        connection.execute(update(chat).where(*here).values(migrated_to=s.decision.migrate_to))
        destinations.move(connection, s.message.bot, s.message.chat_id, s.decision.migrate_to, now)
    if s.decision.stop_bot is not None:
        stop = upsert(connection, bot).values(name=s.message.bot, stopped=s.decision.stop_bot.value)
        connection.execute(
            stop.on_conflict_do_update(index_elements=[bot.c.name], set_={"stopped": stop.excluded.stopped})
        )


def _release(
    connection: Connection, owner: str, settled: Sequence[Settled], limits: Limits, now: float
) -> None:
    for name in {s.message.bot for s in settled}:
        mine = {s.message.chat_id: s for s in settled if s.message.bot == name}
        chats.release(connection, name, owner, mine, now=now, pace=partial(_paced, mine, limits))


def _paced(mine: Mapping[int, Settled], limits: Limits, row: ChatRow) -> ChatPace:
    pace, s = chats.pace_of(row), mine[row["chat_id"]]
    if s.result.reason not in _NO_CALL:
        pace = limiter.after_send(
            pace, s.result.started_at, limits, group=limiter.is_group(s.message.chat_id)
        )
    open_at = max(pace.open_at, s.decision.pause_chat_until)
    return ChatPace(pace.tokens, pace.group_tokens, pace.sent_at, open_at)


def renew(connection: Connection, owner: str, until: float) -> None:
    """Keeps the leases of a living worker."""
    connection.execute(update(chat).where(chat.c.owner == owner).values(lease_until=until))


def abandoned(
    connection: Connection, now: float, *, but: str, all_leases: bool
) -> list[tuple[str, str, list[int]]]:
    """Leased chats whose worker is gone, as (bot, owner, chats).

    Args:
        connection: in a transaction.
        now: seconds since the epoch.
        but: the asking worker, which is not gone.
        all_leases: at the start of the only process that there is, every other lease is a dead one's.
    """
    others = (chat.c.owner.is_not(None), chat.c.owner != but)
    late = others if all_leases else (*others, chat.c.lease_until < now)
    query = select(chat.c.bot, chat.c.owner, chat.c.chat_id).where(*late).limit(1_000)
    found: dict[tuple[str, str], list[int]] = {}
    for row in connection.execute(query.with_for_update(skip_locked=True)):
        found.setdefault((row.bot, row.owner), []).append(row.chat_id)
    return [(name, owner, chat_ids) for (name, owner), chat_ids in found.items()]


def leased(connection: Connection, bot: str, owner: str, but: Collection[int]) -> list[int]:
    """The chats that a worker has, other than those."""
    query = select(chat.c.chat_id).where(
        chat.c.bot == bot, chat.c.owner == owner, chat.c.chat_id.not_in(sorted(but))
    )
    return list(connection.execute(query).scalars())


def clock_set_back(connection: Connection, now: float, longest_wait: float) -> None:
    """No wait that was reckoned by a clock which has been set back since is longer than it was meant.

    What a client appointed (``deliver_at``, ``expires_at``) stays as it is.

    Args:
        connection: in a transaction.
        now: seconds since the epoch.
        longest_wait: between two tries, seconds, but for what Telegram itself asks.
    """
    asked = select(attempt.c.retry_after + 1.0).where(
        attempt.c.message_seq == message.c.seq, attempt.c.number == message.c.attempts
    )
    longest = now + func.coalesce(asked.scalar_subquery(), longest_wait)
    waits = message.c.state == literal_column(f"'{State.RETRY_WAIT.value}'")
    connection.execute(update(message).where(waits, message.c.due_at > longest).values(due_at=longest))
    # A chat is closed by Telegram's rates, for a minute at most, or with a message that was refused.
    refused = select(func.max(message.c.due_at)).where(
        message.c.bot == chat.c.bot, message.c.chat_id == chat.c.chat_id, waits
    )
    opens = func.coalesce(refused.scalar_subquery(), now)
    connection.execute(update(chat).where(chat.c.open_at > now + limiter.MINUTE).values(open_at=opens))
    # The turns follow from what waits: each chat is looked at once more.
    connection.execute(update(chat).where(chat.c.next_at > now).values(next_at=now))
    longest_lease = now + chats.LEASE_SECONDS
    leases = update(chat).where(chat.c.owner.is_not(None), chat.c.lease_until > longest_lease)
    connection.execute(leases.values(lease_until=longest_lease))


def start_bot(connection: Connection, name: str) -> None:
    """Lets a bot that was stopped send again."""
    connection.execute(update(bot).where(bot.c.name == name).values(stopped=None))
