"""Claim: leases ready chats and opens an attempt for the next message of each.

A claim reads, makes a plan and writes it. While a chat is leased no other worker sends to it: the order
within the chat holds, and its rate can be stored in its row. The functions run in one transaction, which
ends before the call to Telegram.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection

from services.kit.database.json_rows import Statement
from services.outbox import change_feed
from services.outbox.chats import chat_heads, chat_queue, chat_state, message_changes
from services.outbox.chats.chat_heads import ChatRow
from services.outbox.delivery import claimed_rows, plan, ready_chats, reply_targets
from services.outbox.delivery.fair_queue import FairQueue
from services.outbox.delivery.plan import DEFAULT_RULES, ChatRules, Ending, Plan
from services.outbox.intake import update_keys
from services.outbox.messages import (
    Claimed,
    Decision,
    MessageState,
    Outcome,
    Reason,
    Result,
    Settled,
)
from services.outbox.rate_limit.bot_rate_limiter import NOT_LIMITED, LimitedSince

#: Messages of a chat that one claim defers; a transaction stays short.
DEFER_BATCH = 200


@dataclass(frozen=True, slots=True)
class ClaimedBatch:
    """The result of a claim.

    Args:
        messages: to be sent and settled.
        next_at: when the next chat can be claimed, seconds since the epoch; None: no chat is queued.
        ended: the messages that ended without an attempt.
    """

    messages: list[Claimed]
    next_at: float | None = None
    ended: Sequence[Settled] = ()


def claim(
    connection: Connection,
    bot: str,
    owner: str,
    limit: int,
    *,
    now: float,
    paced_since: LimitedSince = NOT_LIMITED,
    fair_queue: FairQueue | None = None,
    rules: ChatRules = DEFAULT_RULES,
    paid: int = 0,
) -> ClaimedBatch:
    """Claims the next message of each of up to ``limit`` ready chats.

    Args:
        connection: in a transaction.
        bot: whose chats.
        owner: name of this worker.
        limit: messages that may be sent now.
        now: seconds since the epoch.
        paced_since: since when the bot's rate has delayed messages.
        fair_queue: the clients' clocks of this worker; unset: all clients are equal.
        rules: for muted chats and quiet hours.
        paid: further messages of the bulk lane that may be sent now.
    """
    chat_ids, next_at = ready_chats.lease(
        connection, bot, owner, limit, now=now, fair_queue=fair_queue or FairQueue(), paid=paid
    )
    if not chat_ids:
        return ClaimedBatch([], next_at)
    return open_attempts(connection, bot, owner, chat_ids, now=now, paced_since=paced_since, rules=rules)


def open_attempts(
    connection: Connection,
    bot: str,
    owner: str,
    chat_ids: Sequence[int],
    *,
    now: float,
    paced_since: LimitedSince = NOT_LIMITED,
    rules: ChatRules = DEFAULT_RULES,
) -> ClaimedBatch:
    """Opens an attempt for the next message of each leased chat, as :func:`claim` does after the lease.

    Args:
        connection: in a transaction.
        bot: whose chats.
        owner: whose leases.
        chat_ids: the leased chats.
        now: seconds since the epoch.
        paced_since: since when the bot's rate has delayed messages.
        rules: for muted chats and quiet hours.
    """
    chats = {row["chat_id"]: row for row in chat_heads.read(connection, bot, chat_ids)}
    messages, targets = claimed_rows.load(connection, _next(chats, rules, now), chats, now, paced_since)
    messages = reply_targets.resolved(connection, messages, rules.answers)
    planned = plan.of(chats, messages, targets, rules, now)
    gone = _write(connection, bot, planned, chats, rules, now=now)
    chat_queue.release(connection, bot, owner, planned.give_back, now=now, pace=chat_queue.pace_of)
    return ClaimedBatch(planned.send, now, gone)


def next_of(connection: Connection, bot: str, chat_id: int, now: float) -> int | None:
    """Returns the number of the message that goes next in a chat; None where none is due."""
    chats = {row["chat_id"]: row for row in chat_heads.read(connection, bot, [chat_id])}
    return next(iter(_next(chats, DEFAULT_RULES, now)), None)


def _next(chats: Mapping[int, ChatRow], rules: ChatRules, now: float) -> list[int]:
    """Numbers of the messages that go next in the chats that may be sent to."""
    open_chats = (row for row in chats.values() if plan.accepts(row, rules))
    heads = [chat_heads.choose(chat_heads.heads_of(row), now) for row in open_chats]
    return [head.seq for head in heads if head is not None]


def _write(
    connection: Connection,
    bot: str,
    planned: Plan,
    chats: Mapping[int, ChatRow],
    rules: ChatRules,
    *,
    now: float,
) -> list[Settled]:
    """Writes a plan, but for the release of chats; returns the messages that ended."""
    for old, new in planned.move:
        chat_state.move(connection, bot, old, new, now)
    if planned.begin_anew:
        update_keys.begin_anew(connection, planned.begin_anew, planned.supersede, now)
    gone = _suppress(connection, bot, planned, now)
    gone += _end(connection, planned.end, now)
    _defer(connection, planned, chats, rules, now)
    for message, cause in planned.silenced:
        message_changes.record(connection, [(message.seq, plan.waiting_state(message))], cause, now)
    _open_attempts(connection, planned.send, now)
    return gone


def _suppress(connection: Connection, bot: str, planned: Plan, now: float) -> list[Settled]:
    """Ends the messages of chats that refuse the bot."""
    suppressed: list[Settled] = []
    for chat_id, reason in planned.suppress:
        seqs = chat_state.suppress(connection, bot, chat_id, reason, now)
        for row in claimed_rows.by_seq(connection, seqs) if seqs else ():
            message = claimed_rows.claimed(row, now, 0.0, row.attempts)
            suppressed.append(ended(message, MessageState.SUPPRESSED, reason, now))
    return suppressed


def _end(connection: Connection, endings: Sequence[Ending], now: float) -> list[Settled]:
    """Ends messages, by one statement for each kind of ending."""
    for (state, reason, cause), alike in groupby(sorted(endings, key=_kind), key=_kind):
        seqs = [ending.message.seq for ending in alike]
        message_changes.finish(connection, seqs, state, reason, cause=cause, now=now)
    return [ended(ending.message, ending.state, ending.reason, now) for ending in endings]


def _kind(ending: Ending) -> tuple[MessageState, Reason, str]:
    return ending.state, ending.reason, ending.cause


def ended(m: Claimed, state: MessageState, reason: Reason, now: float) -> Settled:
    """A message that ends without an attempt, in the form of those that are settled."""
    result = Result(Outcome.NOT_SENT, reason, now, now)
    decision = Decision(
        message_changes.final_state(state, arrived=m.may_have_arrived),
        retries=m.retries,
        part=m.part,
        possible_duplicate=m.possible_duplicate,
        plain=m.plain,
        resends=m.resends,
    )
    return Settled(m, result, decision, attempted=False)


def _defer(
    connection: Connection, planned: Plan, chats: Mapping[int, ChatRow], rules: ChatRules, now: float
) -> None:
    """Defers messages, each with those behind it that its chat's quiet hours defer as well."""
    for one in planned.defer:
        behind = claimed_rows.behind(connection, one.message, DEFER_BATCH, now)
        settings = chats[one.message.chat_id]["settings"]
        others = plan.deferred_with(one, behind, settings, rules, now)
        messages = [(one.message.seq, one.state), *((m.seq, MessageState.QUEUED) for m in others)]
        chat_state.defer(connection, messages, one.until, one.deferral.cause, now)


def _open_attempts(connection: Connection, messages: Sequence[Claimed], now: float) -> None:
    """Writes the attempts before the calls: after a crash they show which messages may have been sent."""
    if not messages:
        return
    _SENDING.run(connection, [(m.seq,) for m in messages])
    _OPEN.run(connection, [(m.seq, m.attempt, m.part, m.claimed_at, m.limiter_wait) for m in messages])
    change_feed.write(connection, [(m.seq, MessageState.SENDING, m.attempt, "") for m in messages], now)


_SENDING = Statement(
    f"UPDATE message SET state = '{MessageState.SENDING.value}', attempts = attempts + 1"  # noqa: S608 - a constant
    " WHERE seq {among}",
    seq="bigint",
)
_OPEN = Statement(
    """
    INSERT INTO attempt (message_seq, number, part, claimed_at, limiter_wait)
    SELECT given.seq, given.number, given.part, given.claimed_at, given.limiter_wait FROM {given}
    """,
    seq="bigint",
    number="integer",
    part="integer",
    claimed_at="double precision",
    limiter_wait="double precision",
)
