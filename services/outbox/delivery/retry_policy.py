"""Decide: from what one attempt came to, to what becomes of the message. Pure.

Two limits end the trying: a message whose attempts certainly did not arrive is tried for
``give_up_after`` seconds; one that may have arrived is sent again ``max_resends`` times at most,
since every further try may be one more copy.
"""

from dataclasses import dataclass, replace

from services.outbox.messages import (
    CONTINUATION,
    Claimed,
    Decision,
    MessageState,
    Outcome,
    Reason,
    Result,
    UnknownPolicy,
)

#: The destination refuses the bot, whatever is sent; later messages are not tried.
DESTINATION_REFUSES = frozenset({Reason.BOT_BLOCKED, Reason.CHAT_GONE})
#: Telegram will never take this message as it is.
NEVER = frozenset(
    {
        Reason.CHAT_NOT_FOUND,
        Reason.NO_RIGHTS,
        Reason.THREAD_NOT_FOUND,
        Reason.TOO_LONG,
        Reason.BAD_REQUEST,
        Reason.CANNOT_EDIT,
        Reason.TOO_LARGE,
        Reason.MISDIRECTED,
        Reason.RENDER_FAILED,
    }
)
#: An edit that is refused for what it edits, or for nothing that is known, is sent as a message of its own.
CANNOT_EDIT = frozenset({Reason.CANNOT_EDIT, Reason.BAD_REQUEST})
#: The bot itself is refused: its queue is kept for a better token.
BOT_STOPS = frozenset({Reason.INVALID_TOKEN, Reason.BOT_FROZEN})


@dataclass(frozen=True, slots=True)
class Policy:
    """How long and how often is tried.

    Args:
        base: seconds before the first retry; doubled each time.
        cap: longest wait between retries, seconds.
        give_up_after: seconds after acceptance.
        max_resends: tries of a message that may have arrived already.
    """

    base: float = 1.0
    cap: float = 60.0
    give_up_after: float = 86_400.0
    max_resends: int = 5

    def backoff(self, retries: int, jitter: float) -> float:
        """Seconds before the next try; ``jitter`` in [0, 1) spreads it over ±20 %."""
        return min(self.cap, self.base * 2.0 ** min(retries, 30)) * (0.8 + 0.4 * jitter)


def decide(  # noqa: PLR0911 - one way out for each row of Telegram's error table
    policy: Policy, message: Claimed, result: Result, parts: int, jitter: float
) -> Decision:
    """What becomes of the message.

    Args:
        policy: how long and how often.
        message: as it was claimed.
        result: of the attempt.
        parts: of the whole message.
        jitter: a random number in [0, 1).
    """
    if result.outcome is Outcome.SENT:
        return _sent(message, parts)
    if result.outcome is Outcome.UNKNOWN:
        return _unknown(policy, message, result, jitter)
    if result.reason is Reason.FLOOD_CONTROL:
        return _flood(policy, message, result, jitter)
    if result.reason is Reason.CHAT_MIGRATED:
        return _again(message, at=0.0, migrate_to=result.migrate_to)
    if result.reason is Reason.BAD_MARKUP and not message.plain:
        return replace(_kept(message, MessageState.QUEUED, CONTINUATION), plain=True)
    if result.reason in CANNOT_EDIT and message.edits is not None:
        return replace(_again(message, at=0.0), as_new=True)
    if result.reason in BOT_STOPS:
        return _again(message, at=0.0, stop_bot=result.reason)
    if result.reason in DESTINATION_REFUSES:
        return replace(_kept(message, MessageState.DEAD_LETTER), block_chat=result.reason)
    if result.reason in NEVER or result.reason is Reason.BAD_MARKUP:
        return _kept(message, MessageState.DEAD_LETTER)
    return _retry(policy, message, result, jitter)


def as_it_was(message: Claimed) -> Decision:
    """For a message that was claimed and never tried: it has its turn again, without a mark against it."""
    return _again(message, at=0.0)


def _kept(message: Claimed, state: MessageState, due_at: float = 0.0, part: int | None = None) -> Decision:
    """The state changes, and perhaps the part that is next; nothing else does."""
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
        return replace(_kept(message, MessageState.QUEUED, CONTINUATION, part), retries=0, resends=0)
    return _kept(message, MessageState.DELIVERED, part=part)


def _unknown(policy: Policy, message: Claimed, result: Result, jitter: float) -> Decision:
    if message.edits is not None:
        # Nobody sees whether an edit was made once or twice: it is tried for as long as any.
        return _retry(policy, message, result, jitter)
    if message.on_unknown is UnknownPolicy.HOLD:
        return _kept(message, MessageState.UNKNOWN)
    if message.resends >= policy.max_resends:
        return replace(_kept(message, MessageState.DEAD_LETTER), possible_duplicate=True)
    at = result.finished_at + policy.backoff(message.retries, jitter)
    return replace(
        _kept(message, MessageState.RETRY_WAIT, at),
        retries=message.retries + 1,
        resends=message.resends + 1,
        possible_duplicate=True,
    )


def _flood(policy: Policy, message: Claimed, result: Result, jitter: float) -> Decision:
    """It is no failure of the message, and never ends it. Where Telegram does not say when, waits grow."""
    told = result.retry_after
    if told is not None:
        until = result.finished_at + told + jitter
        return _again(message, at=until, pause_chat_until=until)
    until = result.finished_at + policy.backoff(message.retries, jitter)
    return replace(_again(message, at=until, pause_chat_until=until), retries=message.retries + 1)


def _retry(policy: Policy, message: Claimed, result: Result, jitter: float) -> Decision:
    at = result.finished_at + policy.backoff(message.retries, jitter)
    if at > message.entered_at + policy.give_up_after:
        return _kept(message, MessageState.DEAD_LETTER)
    return replace(_kept(message, MessageState.RETRY_WAIT, at), retries=message.retries + 1)


def _again(
    message: Claimed,
    *,
    at: float,
    pause_chat_until: float = 0.0,
    migrate_to: int | None = None,
    stop_bot: Reason | None = None,
) -> Decision:
    """Back into the queue without a mark against the message; parts delivered stay delivered."""
    state = MessageState.RETRY_WAIT if at else MessageState.QUEUED
    return replace(
        _kept(message, state, at or (CONTINUATION if message.part else 0.0)),
        pause_chat_until=pause_chat_until,
        migrate_to=migrate_to,
        stop_bot=stop_bot,
    )
