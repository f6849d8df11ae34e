"""The plan of a claim: decides what happens to each leased chat and its next message. Pure.

A claim reads the leased chats and the next message of each, makes this plan, and writes it:

    move         the chat is migrated: its messages go to the supergroup
    suppress     the chat refuses the bot: its messages end, unless the service tries it again
    end          the message ends without an attempt: expired, muted, or an edit of nothing
    defer        the message waits for the end of its chat's quiet hours; an edit does not, it makes no sound
    send         an attempt is opened, and the worker sends the message
    give back    the lease ends at once: nothing is sent to the chat now
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from services.outbox.chats.chat_heads import ChatRow
from services.outbox.messages import Claimed, Lane, MessageState, Reason, is_scheduled

#: Whether a muted chat does not get this message.
Mutes = Callable[[Claimed], bool]


@dataclass(frozen=True, slots=True)
class Deferral:
    """How quiet hours change a message.

    Args:
        until: when it is due, seconds since the epoch; None: now, without a sound.
        cause: for people, shown in the message's history.
    """

    until: float | None
    cause: str


#: The deferral of a message by its chat's settings at a time; None: it is sent unchanged.
Defers = Callable[[Claimed, str, float], Deferral | None]


def all_but_urgent(message: Claimed) -> bool:
    """Mutes every message below the urgent lane."""
    return message.lane is not Lane.URGENT


def never(_message: Claimed, _settings: str, _now: float) -> Deferral | None:
    """Defers no message."""
    return None


#: The id of our message or event that a message answers; None: it answers none.
Answers = Callable[[Claimed], str | None]


def none(_message: Claimed) -> None:
    """Answers no message."""
    return


#: Whether a message is tried at a chat that refused the bot, by the seconds since the last attempt there.
Tries = Callable[[Claimed, float], bool]


@dataclass(frozen=True, slots=True)
class ChatRules:
    """How the owning service treats the messages of muted and refusing chats, and those in quiet hours.

    Args:
        mutes: whether a muted chat does not get a message.
        defers: how the chat's settings change a message now.
        answers: which of our messages or events a message answers.
        tries: whether a message is tried at a chat that refused the bot; None: no message is.
    """

    mutes: Mutes = all_but_urgent
    defers: Defers = never
    answers: Answers = none
    tries: Tries | None = None


DEFAULT_RULES = ChatRules()


@dataclass(frozen=True, slots=True)
class Target:
    """The message that an edit names, where Telegram's id of it is not known.

    Args:
        seq: its number; None: it is not stored any more.
        state: its state, or None.
        by_key: whether the edit names it by an update key.
        may_be_shown: whether an attempt to send it had the outcome unknown.
    """

    seq: int | None
    state: MessageState | None
    by_key: bool
    may_be_shown: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """A message that ends without an attempt."""

    message: Claimed
    state: MessageState
    reason: Reason
    cause: str  #: for people, shown in the message's history


@dataclass(frozen=True, slots=True)
class Deferred:
    """A message that waits for the end of quiet hours.

    Args:
        message: as it was read.
        state: its state, which stays.
        until: when it is due then, seconds since the epoch.
        deferral: why.
    """

    message: Claimed
    state: MessageState
    until: float
    deferral: Deferral


@dataclass(frozen=True, slots=True)
class Plan:
    """What a claim writes."""

    send: list[Claimed] = field(default_factory=list)
    #: Messages of :attr:`send` that go without a sound for the first time, with the cause for the history.
    silenced: list[tuple[Claimed, str]] = field(default_factory=list)
    #: Numbers of edits by an update key that are sent as new messages: the first one was not delivered.
    begin_anew: list[int] = field(default_factory=list)
    #: Numbers of queued messages that these edits replace.
    supersede: list[int] = field(default_factory=list)
    end: list[Ending] = field(default_factory=list)
    defer: list[Deferred] = field(default_factory=list)
    #: Ids of chats that refuse the bot, with the reason.
    suppress: list[tuple[int, Reason]] = field(default_factory=list)
    #: Ids of migrated groups, with those of their supergroups.
    move: list[tuple[int, int]] = field(default_factory=list)
    #: Ids of chats whose lease ends with the claim.
    give_back: list[int] = field(default_factory=list)


def of(
    chats: Mapping[int, ChatRow],
    messages: Sequence[Claimed],
    targets: Mapping[int, Target],
    rules: ChatRules,
    now: float,
) -> Plan:
    """Makes the plan of a claim.

    Args:
        chats: the leased chats by id.
        messages: the next message of each chat that can be sent to, if one is due; see :func:`accepts`.
        targets: for the edits among them whose target has no Telegram id, by the number of the edit.
        rules: for muted chats and quiet hours.
        now: seconds since the epoch.
    """
    plan = Plan()
    supergroups = {_supergroup(row) for row in chats.values()}
    for chat_id, row in chats.items():
        if supergroup := _supergroup(row):
            plan.move.append((chat_id, supergroup))
        elif not accepts(row, rules):
            plan.suppress.append((chat_id, _refusal(row)))
    for message in messages:
        # Messages that move to a supergroup in this claim may be older than the supergroup's messages.
        if message.chat_id not in supergroups:
            _add(plan, message, chats[message.chat_id], targets.get(message.seq), rules, now=now)
    plan.give_back.extend(chats.keys() - {message.chat_id for message in plan.send})
    return plan


def accepts(row: ChatRow, rules: ChatRules) -> bool:
    """Whether messages may be sent to a chat: it is not migrated, and does not refuse the bot for good."""
    return not (_supergroup(row) or (row["blocked"] and rules.tries is None))


def _supergroup(row: ChatRow) -> int | None:
    """The supergroup that a group became. No other value may stop the chat: SQLite stores any type."""
    migrated_to = row["migrated_to"]
    return migrated_to if isinstance(migrated_to, int) and migrated_to != row["chat_id"] else None


_REASONS = {reason.value: reason for reason in Reason}


def _refusal(row: ChatRow) -> Reason:
    return _REASONS.get(row["blocked"], Reason.CHAT_GONE)


def _add(
    plan: Plan, message: Claimed, row: ChatRow, target: Target | None, rules: ChatRules, *, now: float
) -> None:
    if target is not None and _is_pointless(target):
        plan.end.append(Ending(message, *_NEVER_SENT))
        return
    if target is not None and target.by_key:
        _begin_anew(plan, message, target)
    if message.expires_at is not None and message.expires_at <= now:
        plan.end.append(Ending(message, *_EXPIRED))
    elif _is_muted(row, now) and rules.mutes(message) and not message.changes_earlier:
        plan.end.append(Ending(message, *_MUTED))
    elif not row["blocked"]:
        _send_or_defer(plan, message, row["settings"], rules, now)
    elif rules.tries is not None and rules.tries(message, now - row["sent_at"]):
        _send_or_defer(plan, replace(message, refused_before=True), row["settings"], rules, now)
    else:
        plan.end.append(Ending(message, MessageState.SUPPRESSED, _refusal(row), "the chat refused the bot"))


_NEVER_SENT = (MessageState.SUPPRESSED, Reason.NEVER_SENT, "the message that it edits was never sent")
_EXPIRED = (MessageState.EXPIRED, Reason.EXPIRED, "expires_at has passed")
_MUTED = (MessageState.SUPPRESSED, Reason.MUTED, "muted")


def _is_pointless(target: Target) -> bool:
    """Whether an edit is of no use without its target, such as the result of a question never shown.

    An edit by an update key has the newest state, and is useful alone. So is the result of a question that
    may have been shown.
    """
    return not target.by_key and not target.may_be_shown


def _begin_anew(plan: Plan, message: Claimed, target: Target) -> None:
    plan.begin_anew.append(message.seq)
    if target.seq is not None and target.state is MessageState.QUEUED:
        plan.supersede.append(target.seq)


def _is_muted(row: ChatRow, now: float) -> bool:
    until = row["muted_until"]
    return until is not None and until > now


def _send_or_defer(plan: Plan, message: Claimed, settings: str | None, rules: ChatRules, now: float) -> None:
    deferral = _deferral(message, settings, rules, now)
    if deferral is None:
        plan.send.append(message)
    elif deferral.until is None:
        plan.send.append(replace(message, silent=True))
        if message.attempt == 1:
            plan.silenced.append((message, deferral.cause))
    elif deferral.until <= now:
        plan.send.append(message)
    else:
        plan.defer.append(Deferred(message, waiting_state(message), deferral.until, deferral))


def _deferral(message: Claimed, settings: str | None, rules: ChatRules, now: float) -> Deferral | None:
    # The rest of a message in parts is not deferred: half of a message is of no use. Edits make no sound.
    may_wait = message.part == 0 and not message.changes_earlier
    return rules.defers(message, settings, now) if settings and may_wait else None


def waiting_state(message: Claimed) -> MessageState:
    """The state in which a message waited before this claim."""
    retried = message.attempt > 1 and is_scheduled(message.due_at)
    return MessageState.RETRY_WAIT if retried else MessageState.QUEUED


def deferred_with(
    first: Deferred, behind: Sequence[Claimed], settings: str, rules: ChatRules, now: float
) -> list[Claimed]:
    """The queued messages behind a deferred one that are deferred with it, so that order holds.

    Args:
        first: the deferred message.
        behind: due messages of the same lane of its chat.
        settings: of the chat.
        rules: for quiet hours.
        now: seconds since the epoch.
    """
    return [other for other in behind if _deferral(other, settings, rules, now) == first.deferral]
