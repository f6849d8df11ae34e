"""The input and the result of handling one update, and the answer to an approval, which may be part of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sqlalchemy import Connection

from services.bridge.approvals import decisions
from services.bridge.approvals.approval import Actor, AnswerVia, Approval, Given
from services.bridge.approvals.decisions import ApprovalChange
from services.bridge.commands.commands import Snapshot
from services.bridge.updates.responses import NO_LINK, NewResponse, ResponseLink
from services.bridge.webhooks.store import NewCall
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import Submission
from services.updates.parse import ParsedUpdate, Sender
from services.updates.stored_updates.store import BotCall, StoredUpdate


@dataclass(frozen=True, slots=True)
class UpdateContext:
    """All that handling one update depends on, besides the database.

    Args:
        update: as it was stored.
        parsed: the same as a value.
        allowed: Telegram ids of the people who may use the bot.
        username: of the bot; None until Telegram has returned it.
        snapshot: measurements, for commands.
        may_notify_stranger: whether a sender who may not use the bot gets a notice; at most one an hour.
        span: of the update.
        now: seconds since the epoch.
    """

    update: StoredUpdate
    parsed: ParsedUpdate
    allowed: frozenset[int]
    username: str | None
    snapshot: Snapshot
    may_notify_stranger: bool
    span: TraceContext
    now: float
    #: The code that chooses the first chat; None: no choice is open.
    first_chat_code: str | None = None

    @property
    def bot(self) -> str:
        return self.update.bot

    def allows(self, sender: Sender) -> bool:
        """Whether the sender may use the bot."""
        return sender.id in self.allowed


class ReactionKind(StrEnum):
    """What an update was handled as; also the name of its span."""

    IGNORED = "ignored"  #: has no span
    TAP = "tap"
    REPLY = "reply"
    TEXT = "text"
    FILE = "file"
    NOT_TAKEN = "not_taken"  #: content that no program can use, such as a location
    COMMAND = "command"
    STRANGER = "stranger"  #: the sender may not use the bot
    MEMBERSHIP = "membership"


@dataclass(frozen=True, slots=True)
class PersonalAnswer:
    """A person's answer to an approval: how it arrived, and its result, which is stored already."""

    via: AnswerVia
    change: ApprovalChange


@dataclass(frozen=True, slots=True)
class Reaction:
    """The result of handling one update.

    Args:
        kind: what it was handled as.
        link: the message or approval that it answers.
        answer: to an approval.
        replies: messages to store and send through the engine.
        bot_calls: calls to store, and to make after the commit.
        webhooks: calls of other programs to store.
        response: to store for ``GET /api/v1/responses``.
        unauthorised: the sender may not use the bot; this is counted.
        notified_stranger: Telegram id of a stranger for whom ``replies`` has a notice.
        chose_chat: whether the person chose the first chat.
        attributes: further ones of the span.
    """

    kind: ReactionKind = ReactionKind.IGNORED
    link: ResponseLink = NO_LINK
    answer: PersonalAnswer | None = None
    replies: tuple[Submission, ...] = ()
    bot_calls: tuple[BotCall, ...] = ()
    webhooks: tuple[NewCall, ...] = ()
    response: NewResponse | None = None
    unauthorised: bool = False
    notified_stranger: int | None = None
    chose_chat: bool = False
    attributes: Mapping[str, str | bool] = field(default_factory=dict)


def answer_approval(  # noqa: PLR0917 - an answer has a person, a way and a choice
    connection: Connection,
    context: UpdateContext,
    approval: Approval,
    sender: Sender,
    via: AnswerVia,
    given: Given,
) -> PersonalAnswer:
    """Answers an approval for a person; an approver who may no longer use the bot cannot decide.

    Args:
        connection: in a transaction.
        context: of the update.
        approval: as it was read.
        sender: the person.
        via: the way the answer arrived.
        given: the answer.
    """
    approvers = tuple(one for one in approval.approvers if one in context.allowed)
    change = decisions.answer(
        connection,
        replace(approval, approvers=approvers),
        Actor(sender.name, sender.id),
        via,
        given,
        now=context.now,
        trace=context.span,
    )
    return PersonalAnswer(via, change)


def link_to(approval: Approval, message_id: str | None = None) -> ResponseLink:
    """The link of a response that answers an approval, shown by the message if that is known."""
    return ResponseLink(message_id, approval.event_id, approval.correlation_id, approval.id, approval.trace)
