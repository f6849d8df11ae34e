"""Retry policy: maps the result of an attempt to the message's next state. Pure.

Two limits end the retries. A message that certainly did not arrive is retried for ``give_up_after``
seconds. One that may have arrived is sent again ``max_resends`` times at most, because each attempt
may deliver one more copy.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from services.outbox.messages import (
    AT_ONCE,
    CONTINUATION,
    DESTINATION_REFUSES,
    Claimed,
    Decision,
    MessageState,
    Outcome,
    Reason,
    Result,
    UnknownPolicy,
    is_scheduled,
)

#: Telegram will never accept this message: it becomes a dead letter.
NEVER = frozenset(
    {
        Reason.CHAT_NOT_FOUND,
        Reason.NO_RIGHTS,
        Reason.THREAD_NOT_FOUND,
        Reason.TOO_LONG,
        Reason.BAD_REQUEST,
        Reason.CANNOT_EDIT,
        Reason.CANNOT_DELETE,
        Reason.TOO_LARGE,
        Reason.MISDIRECTED,
        Reason.RENDER_FAILED,
    }
)
#: An edit that is refused for one of these is sent as a new message.
CANNOT_EDIT = frozenset({Reason.CANNOT_EDIT, Reason.BAD_REQUEST})
#: Telegram refuses the bot: it is stopped, and its messages wait for a valid token.
BOT_STOPS = frozenset({Reason.INVALID_TOKEN, Reason.BOT_FROZEN})


class TopicGone(StrEnum):
    """What to do with a message whose topic is gone or closed."""

    FAIL = "fail"  #: it becomes a dead letter
    GENERAL = "general"  #: it is sent once more, without the topic


@dataclass(frozen=True, slots=True)
class Policy:
    """How long and how often a message is retried.

    Args:
        base: seconds before the first retry; doubled each time.
        cap: longest wait between retries, seconds.
        give_up_after: seconds after acceptance, a message's own time or its replay, at which retries end.
        max_resends: resends of a message that may have arrived.
        topic_gone: what becomes of a message whose topic is gone or closed.
    """

    base: float = 1.0
    cap: float = 60.0
    give_up_after: float = 86_400.0
    max_resends: int = 5
    topic_gone: TopicGone = TopicGone.FAIL

    def backoff(self, retries: int, jitter: float) -> float:
        """Seconds before the next attempt; ``jitter`` in [0, 1) spreads it over ±20 %."""
        return min(self.cap, self.base * 2.0 ** min(retries, 30)) * (0.8 + 0.4 * jitter)


def decide(  # noqa: PLR0911 - a return for each row of Telegram's error table
    policy: Policy, message: Claimed, result: Result, parts: int, jitter: float
) -> Decision:
    """Decides the next state of a message.

    Args:
        policy: how long and how often it is retried.
        message: as it was claimed.
        result: of the attempt.
        parts: number of parts of the whole message.
        jitter: a random number in [0, 1).
    """
    if result.outcome is Outcome.SENT:
        return _sent(message, parts)
    if result.outcome is Outcome.UNKNOWN:
        return _unknown(policy, message, result, jitter)
    if result.reason is Reason.FLOOD_CONTROL:
        return _flood(policy, message, result, jitter)
    if result.reason is Reason.CHAT_MIGRATED:
        return _migrated(policy, message, result, jitter)
    if (changed := _sent_otherwise(policy, message, result)) is not None:
        return changed
    if result.reason in BOT_STOPS:
        return _again(message, at=AT_ONCE, stop_bot=result.reason)
    if result.reason in DESTINATION_REFUSES:
        return replace(_to(message, MessageState.DEAD_LETTER), block_chat=result.reason)
    if result.reason in NEVER or result.reason is Reason.BAD_MARKUP:
        return _to(message, MessageState.DEAD_LETTER)
    return _retry(policy, message, result, jitter)


def _sent_otherwise(policy: Policy, message: Claimed, result: Result) -> Decision | None:
    """The decision for a message that Telegram may take in another form; None: there is none to try."""
    if _may_be_taken_as_plain_text(message, result):
        return replace(_to(message, MessageState.QUEUED, CONTINUATION), plain=True)
    if _may_go_to_general(policy, message, result):
        return _to(message, MessageState.QUEUED, CONTINUATION)
    if result.reason in CANNOT_EDIT and message.is_edit:
        return replace(_again(message, at=AT_ONCE), as_new=True, plain=False)
    return None


def _may_be_taken_as_plain_text(message: Claimed, result: Result) -> bool:
    """Whether entities may be why Telegram refused the message: it says so, or it gives no known reason."""
    formatted = result.formatted and result.reason is Reason.BAD_REQUEST
    return (formatted or result.reason is Reason.BAD_MARKUP) and not message.plain


def _may_go_to_general(policy: Policy, message: Claimed, result: Result) -> bool:
    """Whether the message is sent without its topic. The reason stays with the message, for that attempt."""
    named = message.thread_id not in (None, 1) and not message.to_general
    wanted = policy.topic_gone is TopicGone.GENERAL and named
    return wanted and result.reason is Reason.THREAD_NOT_FOUND


def unsent(message: Claimed) -> Decision:
    """The decision for a message that was claimed and not sent: queued again, without counting a retry."""
    return _again(message, at=AT_ONCE)


def _to(message: Claimed, state: MessageState, due_at: float = AT_ONCE, part: int | None = None) -> Decision:
    """Changes the state, and the next part where it is given; the rest stays."""
    return Decision(
        state,
        due_at,
        message.retries,
        message.part if part is None else part,
        message.possible_duplicate,
        message.plain,
        resends=message.resends,
    )


def _sent(message: Claimed, parts: int) -> Decision:
    part = message.part + 1
    if part < parts:
        return replace(_to(message, MessageState.QUEUED, CONTINUATION, part), retries=0, resends=0)
    return _to(message, MessageState.DELIVERED, part=part)


def _unknown(policy: Policy, message: Claimed, result: Result, jitter: float) -> Decision:
    if message.changes_earlier or result.repeatable:
        # An edit or a deletion that is made twice shows no difference: it is retried as any failed message.
        return _retry(policy, message, result, jitter)
    if message.on_unknown is UnknownPolicy.HOLD:
        return _to(message, MessageState.UNKNOWN)
    if message.resends >= policy.max_resends:
        return replace(_to(message, MessageState.DEAD_LETTER), possible_duplicate=True)
    at = result.finished_at + policy.backoff(message.retries, jitter)
    return replace(
        _to(message, MessageState.RETRY_WAIT, at),
        retries=message.retries + 1,
        resends=message.resends + 1,
        possible_duplicate=True,
    )


def _flood(policy: Policy, message: Claimed, result: Result, jitter: float) -> Decision:
    """Flood control never ends a message. Where Telegram gives no ``retry_after``, the backoff grows."""
    if result.retry_after is not None:
        until = result.finished_at + max(policy.base, result.retry_after) + jitter
        return _again(message, at=until, pause_chat_until=until)
    until = result.finished_at + max(policy.base, policy.backoff(message.retries, jitter))
    return replace(_again(message, at=until, pause_chat_until=until), retries=message.retries + 1)


def _migrated(policy: Policy, message: Claimed, result: Result, jitter: float) -> Decision:
    """A supergroup does not migrate again: further answers of this kind count as failures."""
    if message.retries:
        return replace(_retry(policy, message, result, jitter), migrate_to=result.migrate_to)
    return replace(_again(message, at=AT_ONCE, migrate_to=result.migrate_to), retries=1)


def _retry(policy: Policy, message: Claimed, result: Result, jitter: float) -> Decision:
    at = result.finished_at + policy.backoff(message.retries, jitter)
    if at > message.entered_at + policy.give_up_after:
        return _to(message, MessageState.DEAD_LETTER)
    return replace(_to(message, MessageState.RETRY_WAIT, at), retries=message.retries + 1)


def _again(
    message: Claimed,
    *,
    at: float,
    pause_chat_until: float = 0.0,
    migrate_to: int | None = None,
    stop_bot: Reason | None = None,
) -> Decision:
    """Queues the message again without counting a retry; delivered parts stay delivered."""
    if is_scheduled(at):
        decision = _to(message, MessageState.RETRY_WAIT, at)
    else:
        decision = _to(message, MessageState.QUEUED, CONTINUATION if message.part else AT_ONCE)
    return replace(
        decision,
        pause_chat_until=pause_chat_until,
        migrate_to=migrate_to,
        stop_bot=stop_bot,
    )
