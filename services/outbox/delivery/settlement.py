"""Settlement: writes the results of attempts and releases their chats."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection, func, literal_column, select, update

from services.kit.database.connect import upsert
from services.kit.database.json_rows import Row, Statement
from services.outbox import change_feed
from services.outbox.chats import chat_queue, chat_state, locks
from services.outbox.chats.chat_heads import ChatRow
from services.outbox.delivery import bot_state
from services.outbox.intake import update_keys
from services.outbox.messages import FINISHED, MessageState, Outcome, Reason, Settled
from services.outbox.rate_limit.limits import MINUTE, ChatTokens, Limits, after_send, is_group
from services.outbox.schema import album_message, attempt, chat, message

#: No request was sent to Telegram: its rates were not used.
NO_CALL = frozenset({Reason.CONNECT_FAILED, Reason.FILE_NOT_READY, Reason.RENDER_FAILED})


_SETTLE = """
    UPDATE message SET
      state = given.state, due_at = given.due_at, finished_at = given.finished_at,
      retries = given.retries, resends = given.resends, part = given.part,
      possible_duplicate = given.possible_duplicate, plain = given.plain,
      telegram_message_ids = given.telegram_message_ids, reason = given.reason
    FROM {given}
    WHERE message.seq = given.seq AND message.attempts = given.attempt
"""
_SETTLE_COLUMNS = {
    "seq": "bigint",
    "attempt": "integer",
    "state": "text",
    "due_at": "double precision",
    "finished_at": "double precision",
    "retries": "integer",
    "resends": "integer",
    "part": "integer",
    "possible_duplicate": "boolean",
    "plain": "boolean",
    "telegram_message_ids": "text",
    "reason": "text",
}
#: For the messages that still have their open attempt.
_IN_TIME = Statement(
    # "IS TRUE", so that SQLite finds messages by their numbers, and not by their state.
    f"{_SETTLE} AND (message.state = '{MessageState.SENDING.value}') IS TRUE"
    " RETURNING message.seq, message.attempts",
    **_SETTLE_COLUMNS,
)
#: For messages that were taken over and have no later attempt.
_LATE = Statement(
    f"{_SETTLE} AND message.state <> '{MessageState.SENDING.value}' RETURNING message.seq, message.attempts",
    **_SETTLE_COLUMNS,
)
_CLOSE_ATTEMPT = Statement(
    """
    UPDATE attempt SET
      started_at = given.started_at, finished_at = given.finished_at, settled_at = :now,
      outcome = given.outcome, reason = given.reason, state = given.state, detail = given.detail,
      telegram_message_id = given.telegram_message_id, retry_after = given.retry_after
    FROM {given}
    WHERE attempt.message_seq = given.seq AND attempt.number = given.number
    """,
    seq="bigint",
    number="integer",
    started_at="double precision",
    finished_at="double precision",
    outcome="text",
    reason="text",
    state="text",
    detail="text",
    telegram_message_id="bigint",
    retry_after="double precision",
)


def settle(
    connection: Connection, owner: str, settled: Sequence[Settled], limits: Limits, now: float
) -> set[int]:
    """Writes the results of attempts and releases the chats.

    Args:
        connection: in a transaction.
        owner: the worker.
        settled: its messages, with results and decisions.
        limits: Telegram's rates for chats.
        now: seconds since the epoch.

    Returns:
        The numbers of messages that another worker has taken over. Their attempts are written, and their
        state is the other worker's; a delivery is written all the same, if no later attempt was opened.
    """
    in_time, late = write(connection, settled, now)
    _release(connection, owner, in_time, limits, now)
    return {s.message.seq for s in settled} - {s.message.seq for s in (*in_time, *late)}


def write(
    connection: Connection, settled: Sequence[Settled], now: float
) -> tuple[Sequence[Settled], Sequence[Settled]]:
    """Writes the results of attempts, as :func:`settle` does, without a release of the chats.

    Returns:
        The messages that still had their open attempt; and the deliveries that were written although
        another worker had taken them over.
    """
    in_time, others = _written(connection, _IN_TIME, settled, now)
    deliveries = [s for s in others if s.decision.state is MessageState.DELIVERED]
    late, _ = _written(connection, _LATE, deliveries, now)
    change_feed.write(connection, [_entry(s) for s in (*in_time, *late)], now)
    _CLOSE_ATTEMPT.run(connection, map(_attempt_row, settled), now=now)
    _write_albums(connection, settled)
    changes = [s for s in settled if _changes_chat(s)]
    if changes:
        # Of the whole batch, whose chats are locked by the release as well: in one order.
        locks.lock_chats(connection, [(s.message.bot, s.message.chat_id) for s in settled])
    for s in changes:
        _write_chat_changes(connection, s, now)
    return in_time, late


def _written(
    connection: Connection, statement: Statement, settled: Sequence[Settled], now: float
) -> tuple[Sequence[Settled], Sequence[Settled]]:
    """Writes the new states of messages; returns the messages that were written, and the others."""
    if not settled:
        return (), ()
    rows = statement.run(connection, [_message_row(s, now) for s in settled])
    written = {(row.seq, row.attempts) for row in rows.all()}
    if len(written) == len(settled):
        return settled, ()
    done = [s for s in settled if (s.message.seq, s.message.attempt) in written]
    return done, [s for s in settled if (s.message.seq, s.message.attempt) not in written]


def _entry(s: Settled) -> change_feed.Entry:
    reason = "" if s.result.reason is Reason.NONE else s.result.reason
    return s.message.seq, s.decision.state, s.message.attempt, reason


def _message_row(s: Settled, now: float) -> Row:
    decision = s.decision
    ids = s.message.telegram_message_ids
    if s.result.message_id is not None:
        ids = (*ids, s.result.message_id, *s.result.more_ids)
    return (
        s.message.seq,
        s.message.attempt,
        decision.state,
        decision.due_at,
        now if decision.state in FINISHED else None,
        decision.retries,
        decision.resends,
        decision.part,
        decision.possible_duplicate,
        decision.plain,
        ",".join(map(str, ids)),
        s.result.reason,
    )


def _attempt_row(s: Settled) -> Row:
    return (
        s.message.seq,
        s.message.attempt,
        s.result.started_at,
        s.result.finished_at,
        s.result.outcome,
        s.result.reason,
        s.decision.state,
        # PostgreSQL stores no NUL.
        s.result.detail.replace("\0", ""),
        s.result.message_id,
        s.result.retry_after,
    )


def _write_albums(connection: Connection, settled: Sequence[Settled]) -> None:
    """Writes the ids of an album's further messages; an attempt has the id of the first one."""
    rows = [
        {"message_seq": s.message.seq, "telegram_message_id": one}
        for s in settled
        for one in s.result.more_ids
    ]
    if rows:
        connection.execute(upsert(connection, album_message).values(rows).on_conflict_do_nothing())


def _changes_chat(s: Settled) -> bool:
    """Whether more changes than the message: its chat, or other messages that wait there."""
    decision = s.decision
    return bool(
        decision.block_chat
        or decision.migrate_to
        or decision.stop_bot
        or decision.as_new
        or _accepts_again(s)
    )


def _accepts_again(s: Settled) -> bool:
    """Whether a chat that has refused the bot takes messages now."""
    return s.message.refused_before and s.result.outcome is Outcome.SENT


def _write_chat_changes(connection: Connection, s: Settled, now: float) -> None:
    here = (chat.c.bot == s.message.bot, chat.c.chat_id == s.message.chat_id)
    if s.decision.as_new:
        update_keys.begin_anew(connection, [s.message.seq], (), now)
    if s.decision.block_chat is not None:
        connection.execute(update(chat).where(*here).values(blocked=s.decision.block_chat.value))
    if _accepts_again(s):
        connection.execute(update(chat).where(*here).values(blocked=None))
    if s.decision.migrate_to is not None:
        chat_state.migrate(connection, s.message.bot, s.message.chat_id, s.decision.migrate_to, now)
    if s.decision.stop_bot is not None:
        bot_state.stop(connection, s.message.bot, s.decision.stop_bot)


def _release(
    connection: Connection, owner: str, settled: Sequence[Settled], limits: Limits, now: float
) -> None:
    for name in {s.message.bot for s in settled}:
        mine = {s.message.chat_id: s for s in settled if s.message.bot == name}
        chat_queue.release(connection, name, owner, mine, now=now, pace=partial(_paced, mine, limits))


def _paced(mine: Mapping[int, Settled], limits: Limits, row: ChatRow) -> ChatTokens:
    pace, s = chat_queue.pace_of(row), mine[row["chat_id"]]
    if s.result.reason not in NO_CALL:
        pace = after_send(pace, s.result.started_at, limits, group=is_group(s.message.chat_id))
    until = max(s.decision.pause_chat_until, s.chat_open_at)
    return replace(pace, open_at=until) if until > pace.open_at else pace


def renew(connection: Connection, owner: str, until: float) -> None:
    """Renews the leases of a worker, to a time in seconds since the epoch."""
    connection.execute(update(chat).where(chat.c.owner == owner).values(lease_until=until))


def abandoned(
    connection: Connection,
    now: float,
    *,
    except_owner: str,
    all_leases: bool,
    only: chat_queue.ChatKey | None = None,
) -> list[tuple[str, str, list[int]]]:
    """Locks and returns leased chats of lost workers, as (bot, owner, chats).

    Args:
        connection: in a transaction.
        now: seconds since the epoch.
        except_owner: the calling worker.
        all_leases: also leases that have not ended. With a single process, every lease that it finds at its
            start belongs to an earlier run.
        only: this chat; None: all.
    """
    others = (chat.c.owner.is_not(None), chat.c.owner != except_owner)
    late = others if all_leases else (*others, chat.c.lease_until < now)
    these = () if only is None else (chat.c.bot == only[0], chat.c.chat_id == only[1])
    query = select(chat.c.bot, chat.c.owner, chat.c.chat_id).where(*late, *these).limit(1_000)
    found: dict[tuple[str, str], list[int]] = {}
    for row in connection.execute(query.with_for_update(skip_locked=True)):
        found.setdefault((row.bot, row.owner), []).append(row.chat_id)
    return [(name, owner, chat_ids) for (name, owner), chat_ids in found.items()]


def leased(connection: Connection, bot: str, owner: str, except_chats: Collection[int]) -> list[int]:
    """The chats that a worker has leased, without some of them."""
    query = select(chat.c.chat_id).where(
        chat.c.bot == bot, chat.c.owner == owner, chat.c.chat_id.not_in(sorted(except_chats))
    )
    return list(connection.execute(query).scalars())


def clock_set_back(connection: Connection, now: float, longest_wait: float) -> None:
    """Shortens waits that end too late because the clock was set back.

    Times that a client set (``deliver_at``, ``expires_at``) stay.

    Args:
        connection: in a transaction.
        now: seconds since the epoch, after the clock was set back.
        longest_wait: between two attempts, seconds, where Telegram gave no ``retry_after``.
    """
    locks.lock_timed_chats(connection, now)
    retry_after = select(attempt.c.retry_after + 1.0).where(
        attempt.c.message_seq == message.c.seq, attempt.c.number == message.c.attempts
    )
    longest = now + func.coalesce(retry_after.scalar_subquery(), longest_wait)
    waits = message.c.state == literal_column(f"'{MessageState.RETRY_WAIT.value}'")
    connection.execute(update(message).where(waits, message.c.due_at > longest).values(due_at=longest))
    # A chat is closed for a minute at most, by Telegram's rates, or until its refused message is due.
    refused_until = select(func.max(message.c.due_at)).where(
        message.c.bot == chat.c.bot, message.c.chat_id == chat.c.chat_id, waits
    )
    opens = func.coalesce(refused_until.scalar_subquery(), now)
    connection.execute(update(chat).where(chat.c.open_at > now + MINUTE).values(open_at=opens))
    # Each queued chat is claimed once more: its release computes the time from the messages.
    connection.execute(update(chat).where(chat.c.next_at > now).values(next_at=now))
    longest_lease = now + chat_queue.LEASE_SECONDS
    leases = update(chat).where(chat.c.owner.is_not(None), chat.c.lease_until > longest_lease)
    connection.execute(leases.values(lease_until=longest_lease))
