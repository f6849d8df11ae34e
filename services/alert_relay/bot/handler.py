"""Handles taps, commands and changes of membership of the bot that sends alerts."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection
from uuid_utils import uuid7

from services.alert_relay import commands
from services.alert_relay.bot import maintenance, words
from services.alert_relay.bot.words import OpenIncident
from services.alert_relay.commands import Performed
from services.alert_relay.incidents import queries
from services.alert_relay.incidents.incident import (
    OPEN,
    Acknowledge,
    Actor,
    ActorKind,
    Unacknowledge,
)
from services.alert_relay.incidents.timeline import from_json
from services.alert_relay.notifications import bot_answer, buttons
from services.alert_relay.notifications.store import BOT, CATEGORY, EVENT_TYPE, NotificationTarget
from services.kit.database.connect import Database
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.chats import chat_state
from services.outbox.intake.enqueue import CHANNEL as OUTBOX
from services.outbox.messages import EventRecord, Lane, MessageRecord, Origin, Reason, Submission, Text
from services.updates import alert_acts
from services.updates.command import parse_command
from services.updates.handler import ReactionSpan, ReceivedUpdate
from services.updates.parse import Membership, Tap, TextMessage
from services.updates.stored_updates.store import BotCall

log = structlog.get_logger()

#: Telegram cuts a longer toast.
LONGEST_TOAST = 200


class Performing(Protocol):
    """The part of the relay that the handler uses."""

    @property
    def database(self) -> Database: ...

    def target(self, parent: TraceContext | None = None) -> NotificationTarget: ...

    def record(self, performed: Performed, now: float) -> None: ...

    def record_enqueued(self, submissions: Sequence[Submission]) -> None: ...


@dataclass(frozen=True, slots=True)
class RelayContext:
    """What the reaction to an update depends on, besides the database.

    Args:
        update: that was received.
        target: of notifications; None: no chat is known yet.
    """

    update: ReceivedUpdate
    target: NotificationTarget | None


@dataclass(frozen=True, slots=True)
class RelayReaction:
    """What follows from an update.

    Args:
        name: of its span; empty: nothing follows.
        replies: messages that the outbox sends.
        bot_calls: calls of the Bot API.
        performed: the command that a person gave.
        membership: whether the bot was blocked, or may write again.
        enqueued: messages that were enqueued beside the replies.
    """

    name: str = ""
    replies: tuple[Submission, ...] = ()
    bot_calls: tuple[BotCall, ...] = ()
    performed: Performed | None = None
    membership: bool = False
    enqueued: tuple[Submission, ...] = ()


class RelayHandler:
    """The :class:`services.updates.handler.UpdateHandler` of alert-relay.

    Args:
        relay: counts what was done.
        chat_ids: returns the chats that get alerts.
        user_ids: who may handle incidents; empty: everybody in these chats.
        own_bot: whether the bot is alert-relay's own; else the bridge answers what is not about incidents.
    """

    def __init__(
        self,
        relay: Performing,
        chat_ids: Callable[[], tuple[int, ...]],
        user_ids: Collection[int],
        *,
        own_bot: bool,
    ) -> None:
        self._relay = relay
        self._chat_ids = chat_ids
        self._user_ids = frozenset(user_ids)
        self._own_bot = own_bot
        #: Of the bot; None until Telegram has returned it.
        self._username: str | None = None

    @property
    def menu(self) -> Mapping[str, str]:
        """Of alert-relay's own bot; the bridge sets the menu of its bot."""
        return alert_acts.COMMANDS | {"help": "about this bot"} if self._own_bot else {}

    def introduce(self, username: str | None) -> None:
        self._username = username
        log.info("alert_bot", username=username)

    def context(self, update: ReceivedUpdate) -> RelayContext:
        return RelayContext(update, self._relay.target(update.span) if self._chat_ids() else None)

    def react(self, connection: Connection, context: RelayContext) -> RelayReaction:
        match context.update.parsed:
            case Tap() as tap:
                return self._tap(connection, context, tap)
            case TextMessage() as message:
                return self._message(connection, context, message)
            case Membership() as change:
                return _change_membership(connection, change, context.update.now)
            case _:
                return RelayReaction()

    def store(self, connection: Connection, context: RelayContext, reaction: RelayReaction) -> None:
        """Stores nothing else."""

    async def publish(self, context: RelayContext, reaction: RelayReaction) -> None:
        if reaction.performed is not None:
            self._relay.record(reaction.performed, context.update.now)
        if reaction.enqueued:
            self._relay.record_enqueued(reaction.enqueued)
        if reaction.performed is not None or reaction.membership or reaction.enqueued:
            self._relay.database.notify(OUTBOX)

    def span(self, reaction: RelayReaction) -> ReactionSpan | None:
        if not reaction.name:
            return None
        done = reaction.performed
        attributes: dict[str, str | bool] = {}
        if done is not None:
            attributes["cctelegram.incident_id"] = done.after.id
            attributes["cctelegram.outcome"] = done.refusal.value if done.refusal else "done"
        return ReactionSpan(reaction.name, attributes)

    def after_outage(self, connection: Connection, since: float, now: float) -> Sequence[Submission]:  # noqa: ARG002 - protocol
        """Makes up for nothing: the buttons are still there, and work."""
        return ()

    def _may_handle(self, chat_id: int | None, user_id: int) -> bool:
        """A tap whose message Telegram has no more is taken from a named user only."""
        if self._user_ids:
            return user_id in self._user_ids
        return chat_id is not None and chat_id in self._chat_ids()

    def _tap(self, connection: Connection, context: RelayContext, tap: Tap) -> RelayReaction:
        button = buttons.tapped(tap.data)
        is_window = maintenance.is_button(tap.data)
        if button is None and not is_window:
            return RelayReaction("tap", bot_calls=_toast(tap, words.UNKNOWN_BUTTON))
        if context.target is None or not self._may_handle(tap.chat_id, tap.sender.id):
            return RelayReaction("tap", bot_calls=_toast(tap, words.NOT_ALLOWED, alert=True))
        if button is None:
            text, done = maintenance.end(connection, tap.data, context.target, context.update.now)
            enqueued = () if done is None else done.submissions
            return RelayReaction("tap", bot_calls=_toast(tap, text), enqueued=enqueued)
        # Who takes the incident, or gives it back, means the incident as it is: no change of it matters.
        anyway = isinstance(button.command, Acknowledge | Unacknowledge)
        performed = commands.perform(
            connection,
            button.incident_id,
            button.command,
            actor=Actor(ActorKind.TELEGRAM, tap.sender.name, tap.sender.id),
            version=None if anyway else button.version,
            target=context.target,
            now=context.update.now,
        )
        if performed is None:
            return RelayReaction("tap", bot_calls=_toast(tap, words.UNKNOWN_BUTTON))
        text = words.toast(button.command, performed.after, performed.refusal)
        calls = _toast(tap, text, alert=performed.refusal is not None)
        return RelayReaction("tap", bot_calls=calls, performed=performed)

    def _message(self, connection: Connection, context: RelayContext, message: TextMessage) -> RelayReaction:
        if message.private:
            # Who writes to the bot has not blocked it; Telegram reports no change before the first message.
            chat_state.unblock(connection, BOT, message.chat_id, context.update.now)
        command = parse_command(message.text)
        if command is None or command.is_for_another_bot(self._username):
            return RelayReaction()
        name, known = command.name, message.chat_id in self._chat_ids()
        keyboard: Mapping[str, Any] | None = None
        if name == "incidents" and self._may_handle(message.chat_id, message.sender.id):
            text = _incident_list(connection, context.update.now)
        elif name == "maintenance" and self._may_handle(message.chat_id, message.sender.id):
            by = Actor(ActorKind.TELEGRAM, message.sender.name, message.sender.id)
            made = maintenance.answer(connection, command.argument, by, context.update.now)
            text, keyboard = made.text, made.keyboard
        elif name in alert_acts.COMMANDS or (self._own_bot and name in ("start", "help")):
            text = words.introduction(message.chat_id, known=known)
        else:
            return RelayReaction()
        return RelayReaction("command", replies=(_answer(message, text, context, keyboard),), membership=True)


def _incident_list(connection: Connection, now: float) -> Text:
    total = sum(queries.counts(connection)[state] for state in OPEN)
    rows = [row for state in OPEN for row in queries.page(connection, state, None, words.MOST_LISTED)]
    newest = sorted(rows, key=lambda row: float(row["opened_at"]), reverse=True)
    return words.incident_list(
        [
            OpenIncident(
                row["alertname"],
                row["severity"],
                row["cluster"],
                row["firing"],
                row["opened_at"],
                str(from_json(row["acknowledged_by"]) or ""),
            )
            for row in newest
        ],
        total,
        now,
    )


def _change_membership(connection: Connection, change: Membership, now: float) -> RelayReaction:
    """Blocks the chat's messages, or lets them go again."""
    if change.may_write:
        chat_state.unblock(connection, BOT, change.chat_id, now)
    else:
        reason = Reason.BOT_BLOCKED if change.private else Reason.CHAT_GONE
        chat_state.block(connection, BOT, change.chat_id, reason)
    return RelayReaction("membership", membership=True)


def _toast(tap: Tap, text: str, *, alert: bool = False) -> tuple[BotCall, ...]:
    """A toast, which stays as an ``alert`` until it is closed; none if the bridge has answered the tap."""
    if not tap.query_id:
        return ()
    toast = BotCall(
        "answerCallbackQuery",
        {"callback_query_id": tap.query_id, "text": text[:LONGEST_TOAST], "show_alert": alert},
    )
    return (toast,)


def _answer(
    message: TextMessage, text: Text, context: RelayContext, keyboard: Mapping[str, Any] | None
) -> Submission:
    """A reply through the outbox, which keeps the order of the chat and survives a crash."""
    event_id = str(uuid7())
    event = EventRecord(
        id=event_id,
        type=EVENT_TYPE,
        category=CATEGORY,
        title="answer to a command",
        source="alert-relay",
        severity="",
        body=bot_answer.to_json(text, message.message_id, keyboard),
        accepted_at=context.update.now,
        trace=context.update.span.child(),
        correlation_id=event_id,
        client="alert-relay",
        origin=Origin.BOT,
    )
    to = MessageRecord(str(uuid7()), message.chat_id, thread_id=message.thread_id, lane=Lane.URGENT, bot=BOT)
    return Submission((event,), ((to,),))
