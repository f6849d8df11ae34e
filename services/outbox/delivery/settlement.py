"""Settle: what attempts came to is written, and the chats are given back."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection, func, literal_column, select, update

from services.kit.database.connect import upsert
from services.kit.database.json_rows import Row, Statement
from services.outbox import change_feed
from services.outbox.chats import chat_queue, chat_state, locks
from services.outbox.chats.chat_queue import ChatRow
from services.outbox.messages import FINISHED, Reason, Settled, State
from services.outbox.rate_limit.limits import MINUTE, ChatTokens, Limits, after_send, is_group
from services.outbox.schema import attempt, bot, chat, message

#: No request left the machine: Telegram's rates were not used.
_NO_CALL = frozenset({Reason.CONNECT_FAILED, Reason.RENDER_FAILED})


_FATE = """
    UPDATE message SET
      state = given.state, due_at = given.due_at, finished_at = given.finished_at,
      retries = given.retries, resends = given.resends, part = given.part,
      possible_duplicate = given.possible_duplicate, plain = given.plain,
      telegram_message_ids = given.telegram_message_ids, reason = given.reason
    FROM {given}
    WHERE message.seq = given.seq AND message.attempts = given.attempt
"""
_FATE_COLUMNS = {
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
#: Of the messages whose attempt is still the last one, and which nobody has settled.
_IN_TIME = Statement(
    # So that SQLite looks messages up by their numbers, and not through all that are being sent.
    f"{_FATE} AND (message.state = '{State.SENDING.value}') IS TRUE RETURNING message.seq, message.attempts",
    **_FATE_COLUMNS,
)
#: Of those that were taken over, and not tried again.
_LATE = Statement(
    f"{_FATE} AND message.state <> '{State.SENDING.value}' RETURNING message.seq, message.attempts",
    **_FATE_COLUMNS,
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
    """Writes what attempts came to and gives the chats back.

    Returns:
        The numbers of messages that another worker has taken over meanwhile: the result is noted
        in the attempt, the message's fate is the other's. Only news of a delivery still counts,
        while nobody has tried again.
    """
    in_time, others = _written(connection, _IN_TIME, settled, now)
    # Its fate is another worker's; only that it was delivered after all is still news.
    news = [s for s in others if s.decision.state is State.DELIVERED]
    late, _ = _written(connection, _LATE, news, now)
    change_feed.write(connection, [_entry(s) for s in (*in_time, *late)], now)
    _CLOSE_ATTEMPT.run(connection, map(_attempt_row, settled), now=now)
    for s in settled:
        decision = s.decision
        if decision.block_chat or decision.migrate_to or decision.stop_bot or decision.as_new:
            _change_destination(connection, s, now)
    _release(connection, owner, in_time, limits, now)
    return {s.message.seq for s in settled} - {s.message.seq for s in (*in_time, *late)}


def _written(
    connection: Connection, fate: Statement, settled: Sequence[Settled], now: float
) -> tuple[Sequence[Settled], Sequence[Settled]]:
    """Writes what becomes of messages; answers those that were written, and the others."""
    if not settled:
        return (), ()
    rows = fate.run(connection, [_message_row(s, now) for s in settled])
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
        ids = (*ids, s.result.message_id)
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
        # PostgreSQL keeps no NUL.
        s.result.detail.replace("\0", ""),
        s.result.message_id,
        s.result.retry_after,
    )


def _change_destination(connection: Connection, s: Settled, now: float) -> None:
    here = (chat.c.bot == s.message.bot, chat.c.chat_id == s.message.chat_id)
    if s.decision.as_new:
        connection.execute(update(message).where(message.c.seq == s.message.seq).values(edits=None))
    if s.decision.block_chat is not None:
        connection.execute(update(chat).where(*here).values(blocked=s.decision.block_chat.value))
    if s.decision.migrate_to is not None:
        connection.execute(update(chat).where(*here).values(migrated_to=s.decision.migrate_to))
        chat_state.move(connection, s.message.bot, s.message.chat_id, s.decision.migrate_to, now)
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
        chat_queue.release(connection, name, owner, mine, now=now, pace=partial(_paced, mine, limits))


def _paced(mine: Mapping[int, Settled], limits: Limits, row: ChatRow) -> ChatTokens:
    pace, s = chat_queue.pace_of(row), mine[row["chat_id"]]
    if s.result.reason not in _NO_CALL:
        pace = after_send(pace, s.result.started_at, limits, group=is_group(s.message.chat_id))
    until = s.decision.pause_chat_until
    return replace(pace, open_at=until) if until > pace.open_at else pace


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
    locks.hold_timed(connection, now)
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
    connection.execute(update(chat).where(chat.c.open_at > now + MINUTE).values(open_at=opens))
    # The turns follow from what waits: each chat is looked at once more.
    connection.execute(update(chat).where(chat.c.next_at > now).values(next_at=now))
    longest_lease = now + chat_queue.LEASE_SECONDS
    leases = update(chat).where(chat.c.owner.is_not(None), chat.c.lease_until > longest_lease)
    connection.execute(leases.values(lease_until=longest_lease))


def start_bot(connection: Connection, name: str) -> None:
    """Lets a bot that was stopped send again."""
    connection.execute(update(bot).where(bot.c.name == name).values(stopped=None))
