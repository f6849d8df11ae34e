"""Builds the approval of an event of type ``approval_request``, as ``POST /api/v1/approvals`` does.

Writes nothing: the caller stores the returned ``Question``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Self

import uuid_utils
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection

from services.bridge import bot_messages
from services.bridge.approvals import approval as domain
from services.bridge.approvals import from_request, question_text, reminders, store
from services.bridge.approvals.approval import Approval, Option
from services.bridge.approvals.reminders import Plan
from services.bridge.bot_messages import Recipient
from services.bridge.bots import DEFAULT, Bot
from services.bridge.chats.names import Found
from services.bridge.chats.times import DEFAULT_ZONE, common
from services.bridge.chats.zones import of_chats
from services.bridge.events.accept import QUESTION, Question
from services.bridge.events.addressed import AddressedRequest, Place
from services.bridge.events.templates import Templates
from services.bridge.routes.destinations import NO_CHAT, Destination
from services.contracts.approvals import Options, default_options
from services.contracts.events import NewEvent
from services.contracts.fields import Severity
from services.contracts.questions import DEFAULT_TEXT
from services.kit.database.connect import Database
from services.kit.errors import Problem, invalid_input
from services.kit.field_errors import message
from services.outbox import messages
from services.outbox.messages import MessageRecord, Origin, UnknownPolicy

_options = TypeAdapter(Options)
#: Fields of an event that an approval cannot have, with the message for the client.
_REFUSED = {
    "dedup_key": "an approval is asked each time",
    "digest_key": "an approval is asked at once",
    "deliver_at": "an approval is sent at once: post the event when people should answer it",
    "update_key": "an approval never edits an earlier message: leave update_key out",
    **dict.fromkeys(
        ("link_preview", "protect_content", "reply_to", "pin", "buttons"),
        "an approval does not have it: leave it out",
    ),
}


@dataclass(frozen=True, slots=True)
class EventApprovals:
    """Builds approvals of events: called with an event, it returns the approval and its messages.

    Args:
        bots: all bots, by name.
        expires_in: lifetime of an approval in seconds, if the event has no ``expires_at``.
        templates: the operator's templates; None: built-in texts.
        zones: time zones by bot and chat; UTC for others.
    """

    bots: Mapping[str, Bot]
    expires_in: float
    templates: Templates | None = None
    zones: Mapping[tuple[str, int], str] = field(default_factory=dict)

    async def in_zones(self, database: Database, request: AddressedRequest, found: Found) -> Self:
        """The same, with the time zones of the chats that get the questions of a request.

        Args:
            database: of the bridge.
            request: as it is to be accepted.
            found: the ids of the chats that it names by a text.

        Raises:
            Problem: 422, 503, there is no such chat.
        """
        chats = {
            (target.bot or one.bot, target.chat_id)
            for one in request.events
            if one.event.type == QUESTION
            for target in one.destinations(found)
        }
        return (
            replace(self, zones=await database.read("read", partial(_zones, chats=chats))) if chats else self
        )

    def __call__(
        self, posted: NewEvent, made: messages.EventRecord, targets: Sequence[Destination], place: Place
    ) -> Question:
        """Returns the approval of an event, with the messages that show its question.

        Args:
            posted: the event as the client posted it.
            made: the event as it would be stored.
            targets: its recipients.
            place: its position in the request, for errors.

        Raises:
            Problem: 422, names the wrong field: ``deliver_at`` and ``update_key`` are not allowed, all
                recipients must belong to one bot, and the bot needs approvers; 503, a route names a bot that
                was taken away.
        """
        for name, why in _REFUSED.items():
            if getattr(posted, name) != NewEvent.model_fields[name].default:
                raise invalid_input([{"loc": [*place, name], "msg": why}])
        bot = self._bot(posted, targets, place)
        approval = self._approval(posted, made, bot, place)
        plan = from_request.plan_of(posted.data, bot, made.accepted_at, [*place, "data"])
        here = {self.zones.get((bot.name, target.chat_id), DEFAULT_ZONE) for target in targets}
        worded = replace(approval, time_zone=common(here))
        question = question_text.render_question(self.templates, worded, posted)
        shown = bot_messages.new_messages(_recipients(posted, targets, approval), approval.bot)
        body = bot_messages.event_body(question, posted.model_dump_json(exclude_defaults=True))
        return Question(
            approval.id,
            approval.code,
            replace(made, severity=approval.severity, body=body, origin=Origin.APPROVAL),
            shown,
            partial(_keep, approval=approval, messages=shown, plan=plan),
        )

    def _bot(self, posted: NewEvent, targets: Sequence[Destination], place: Place) -> Bot:
        """The bot that shows the question: its buttons come back to it, and only it can edit the message."""
        names = {target.bot or posted.bot or DEFAULT for target in targets}
        if len(names) > 1:
            text = (
                f"the routes send this approval by several bots ({', '.join(sorted(names))}):"
                " an approval has one bot"
            )
            raise invalid_input([{"loc": [*place, "bot"], "msg": text}])
        name = names.pop()
        if name not in self.bots:
            # The client cannot mend the route, and the question must not be lost.
            rule = next((target.rule for target in targets if target.rule), "")
            text = f"The route {rule} names the bot {name}, and there is none: it could not ask the question."
            raise Problem(NO_CHAT, "No such bot", text, headers={"Retry-After": "60"})
        return self.bots[name]

    def _approval(self, posted: NewEvent, made: messages.EventRecord, by: Bot, place: Place) -> Approval:
        if not by.allowed:
            raise invalid_input([{"loc": [*place, "type"], "msg": from_request.NO_APPROVERS}])
        now, data = made.accepted_at, posted.data
        approvers = tuple(sorted(by.allowed))
        from_request.check_needed(data.needed or 1, approvers, [*place, "data"])
        return Approval(
            id=str(uuid_utils.uuid7()),
            code=domain.new_code(),
            token=domain.new_token(),
            title=posted.title,
            prompt=data.approval_prompt or "",
            options=() if data.answer == "text" else _read_options(posted, place),
            approvers=approvers,
            bot=by.name,
            client=made.client,
            source=posted.source,
            severity=(posted.severity or data.severity or Severity.HIGH).value,
            correlation_id=made.correlation_id,
            event_id=made.id,
            trace=made.trace,
            created_at=now,
            expires_at=self._expires_at(posted, now, place),
            callback_url=posted.callback_url,
            metadata=data.metadata,
            needed=data.needed or 1,
            text_limit=(data.max_length or DEFAULT_TEXT) if data.answer == "text" else None,
        )

    def _expires_at(self, posted: NewEvent, now: float, place: Place) -> float:
        if posted.expires_in is not None:
            life = timedelta(seconds=posted.expires_in)
            return from_request.valid_expiry(life, now, [*place, "expires_in"])
        if posted.expires_at is None:
            return now + self.expires_in
        return from_request.valid_expiry(posted.expires_at, now, [*place, "expires_at"])


def _zones(connection: Connection, chats: Collection[tuple[str, int]]) -> dict[tuple[str, int], str]:
    found: dict[tuple[str, int], str] = {}
    for bot in {bot for bot, _ in chats}:
        ids = [chat_id for name, chat_id in chats if name == bot]
        found |= {(bot, one): zone for one, zone in of_chats(connection, bot, ids).items()}
    return found


def _keep(connection: Connection, approval: Approval, messages: Sequence[MessageRecord], plan: Plan) -> None:
    store.add(connection, approval, messages)
    reminders.add(connection, approval.id, plan, approval.created_at)


def _recipients(posted: NewEvent, targets: Sequence[Destination], approval: Approval) -> list[Recipient]:
    return [
        Recipient(
            target.chat_id,
            target.thread_id or posted.thread_id,
            expires_at=approval.expires_at,
            silent=posted.silent or target.silent,
            on_unknown=UnknownPolicy(posted.on_unknown),
        )
        for target in targets
    ]


async def codes_taken(database: Database, codes: Sequence[str]) -> bool:
    """Returns whether two codes are equal, or one belongs to a stored approval.

    A code is what people type to answer. If it is taken, build these approvals again, with new codes.
    """
    if len(set(codes)) < len(codes):
        return True
    return bool(codes) and await database.read("read", partial(store.codes_exist, codes=codes))


def _read_options(posted: NewEvent, place: Place) -> tuple[Option, ...]:
    if posted.data.options is None:
        options = default_options()
    else:
        try:
            options = _options.validate_python(posted.data.options)
        except ValidationError as error:
            # A plain text is both value and label; without the set each fault would be reported twice.
            faults = {(fault["loc"][:1], message(fault)) for fault in error.errors(include_url=False)}
            raise invalid_input(
                [{"loc": [*place, "data", "options", *loc], "msg": msg} for loc, msg in sorted(faults)]
            ) from None
    return tuple(Option(option.value, option.label) for option in options)
