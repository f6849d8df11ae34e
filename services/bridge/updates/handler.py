"""Handles the updates of one bot: collects the context, decides on the reaction, stores and publishes it.

`taps`, `text_messages` and `other_messages` decide on what people do; this module on changes of membership.
"""

from collections.abc import Mapping, Sequence

import structlog
from sqlalchemy import Connection

from services.bridge.approvals import reask
from services.bridge.approvals.after_commit import ApprovalPublisher
from services.bridge.commands.commands import MENU
from services.bridge.commands.snapshot import SnapshotReader
from services.bridge.first_chat import choice
from services.bridge.first_chat.choice import FirstChat
from services.bridge.updates import other_messages, responses, taps, text_messages
from services.bridge.updates.context import Reaction, ReactionKind, UpdateContext
from services.bridge.updates.metrics import PeopleMetrics
from services.bridge.updates.strangers import StrangerNotices
from services.bridge.webhooks import store as webhooks
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.outbox.chats import chat_state
from services.outbox.intake.enqueue import CHANNEL as OUTBOX
from services.outbox.messages import Reason, Submission
from services.updates import parse
from services.updates.handler import ReactionSpan, ReceivedUpdate
from services.updates.parse import Ignored, Membership, NotTaken, Tap, TextMessage, Unreadable

log = structlog.get_logger()


class BridgeHandler:
    """The :class:`services.updates.handler.UpdateHandler` of one bot.

    Args:
        bot: its name.
        database: of the bridge.
        first_chat: who may use the bot, and the code that chooses its first chat.
        snapshots: measurements, for commands.
        publisher: of changes of approvals.
        metrics: of people.
        clock: source of the time.
    """

    menu: Mapping[str, str] = MENU

    def __init__(
        self,
        bot: str,
        *,
        database: Database,
        first_chat: FirstChat,
        snapshots: SnapshotReader,
        publisher: ApprovalPublisher,
        metrics: PeopleMetrics,
        clock: Clock,
    ) -> None:
        self._bot = bot
        self._database = database
        self._first_chat = first_chat
        self._snapshots = snapshots
        self._publisher = publisher
        self._metrics = metrics
        self._notices = StrangerNotices(clock)
        #: Of the bot; None until Telegram has returned it.
        self._username: str | None = None

    def introduce(self, username: str | None) -> None:
        self._username = username
        self._first_chat.introduce(self._bot, username)

    def context(self, update: ReceivedUpdate) -> UpdateContext:
        act = parse.act_of(update.parsed)
        return UpdateContext(
            update=update.stored,
            parsed=update.parsed,
            allowed=self._first_chat.allowed(self._bot),
            username=self._username,
            snapshot=self._snapshots.snapshot(),
            may_notify_stranger=act is not None and self._notices.may_notify(act.sender.id, act.chat_id),
            span=update.span,
            now=update.now,
            first_chat_code=self._first_chat.code(self._bot),
        )

    def react(self, connection: Connection, context: UpdateContext) -> Reaction:
        match context.parsed:
            case Tap() as tap:
                return taps.react(connection, context, tap)
            case TextMessage() as message:
                _note_contact(connection, context, message)
                return text_messages.react(connection, context, message)
            case NotTaken(message, what):
                _note_contact(connection, context, message)
                return other_messages.react(connection, context, message, what)
            case Membership() as change:
                return _change_membership(connection, context, change)
            case Ignored() | Unreadable():
                return Reaction()

    def store(self, connection: Connection, context: UpdateContext, reaction: Reaction) -> None:
        webhooks.add(connection, reaction.webhooks, context.now)
        if reaction.response is not None:
            responses.add(connection, reaction.response, context.now)

    async def publish(self, context: UpdateContext, reaction: Reaction) -> None:
        if reaction.kind is ReactionKind.MEMBERSHIP:
            self._database.notify(OUTBOX)
        if reaction.answer is not None:
            self._publisher.answered(reaction.answer.via, reaction.answer.change.outcome)
            await self._publisher.closed([reaction.answer.change])
        if reaction.unauthorised:
            self._metrics.strangers.labels(context.update.kind).inc()
        if reaction.notified_stranger is not None:
            act = parse.act_of(context.parsed)
            self._notices.remember(reaction.notified_stranger, act.chat_id if act else None)
        if reaction.response is not None:
            self._database.notify(responses.CHANNEL)
        if reaction.chose_chat:
            self._database.notify(choice.CHANNEL)
        if reaction.webhooks:
            self._database.notify(webhooks.CHANNEL)

    def span(self, reaction: Reaction) -> ReactionSpan | None:
        """Linked to the message or the approval that the update answers."""
        if reaction.kind is ReactionKind.IGNORED:
            return None
        link, attributes = reaction.link, dict(reaction.attributes)
        if reaction.answer is not None:
            attributes["cctelegram.approval_id"] = reaction.answer.change.approval.id
            attributes["cctelegram.outcome"] = reaction.answer.change.outcome.value
        for name in ("message_id", "event_id", "correlation_id"):
            if (value := getattr(link, name)) is not None:
                attributes[f"cctelegram.{name}"] = value
        return ReactionSpan(reaction.kind.value, attributes, link.event_id, link.trace)

    def after_outage(self, connection: Connection, since: float, now: float) -> Sequence[Submission]:
        """Repeats open questions."""
        repeated = reask.repeat_open(connection, self._bot, since, now)
        log.warning("questions_repeated", outage_seconds=now - since, questions=len(repeated))
        return repeated


def _note_contact(connection: Connection, context: UpdateContext, message: TextMessage) -> None:
    """Who writes to the bot has not blocked it; Telegram sends no membership update for the first message."""
    if message.private:
        chat_state.unblock(connection, context.bot, message.chat_id, context.now)


def _change_membership(connection: Connection, context: UpdateContext, change: Membership) -> Reaction:
    """Blocks the chat's messages, or lets them go again."""
    if change.may_write:
        chat_state.unblock(connection, context.bot, change.chat_id, context.now)
    else:
        reason = Reason.BOT_BLOCKED if change.private else Reason.CHAT_GONE
        chat_state.block(connection, context.bot, change.chat_id, reason)
    return Reaction(ReactionKind.MEMBERSHIP, attributes={"cctelegram.may_write": change.may_write})
