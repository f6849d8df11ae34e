"""An event of the type ``approval_request`` is a question: the same as one of ``POST /api/v1/approvals``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import uuid_utils
from pydantic import TypeAdapter, ValidationError

from services.bridge import bot_messages
from services.bridge.approvals import approval as domain
from services.bridge.approvals import from_request, phrasing, store
from services.bridge.approvals.approval import Approval, Option
from services.bridge.bot_messages import Recipient
from services.bridge.bots import DEFAULT, Bot
from services.bridge.events.accept import Place, Question
from services.bridge.events.templates import Templates
from services.bridge.routes.routes import Target
from services.contracts.approvals import NewApproval, Options
from services.contracts.events import NewEvent
from services.contracts.fields import Severity
from services.kit.database.connect import Database
from services.kit.errors import invalid_input
from services.outbox import messages
from services.outbox.messages import Origin, UnknownPolicy

_options = TypeAdapter(Options)
#: What makes no sense of a question, with the reason.
_REFUSED = {
    "deliver_at": "a question is asked at once: post it when it is to be asked",
    "update_key": "a question is a message of its own, and edits none",
}


@dataclass(frozen=True, slots=True)
class Posted:
    """Makes questions of events.

    Args:
        bots: all of them, by name.
        life: seconds that a question is open where it does not say.
        templates: a team's own wording.
    """

    bots: Mapping[str, Bot]
    life: float
    templates: Templates | None = None

    def __call__(
        self, posted: NewEvent, made: messages.EventRecord, targets: Sequence[Target], place: Place
    ) -> Question:
        """The question that an event asks, and the messages that show it.

        Raises:
            Problem: 422, by the field of the event.
        """
        for field, why in _REFUSED.items():
            if getattr(posted, field) is not None:
                raise invalid_input([{"loc": [*place, field], "msg": why}])
        asked = self._approval(posted, made, self._bot(posted, targets, place), place)
        words = phrasing.words(self.templates, asked, posted)
        to = [
            Recipient(
                target.chat_id,
                target.thread_id or posted.thread_id,
                expires_at=asked.expires_at,
                silent=posted.silent or target.silent,
                on_unknown=UnknownPolicy(posted.on_unknown),
            )
            for target in targets
        ]
        shown = bot_messages.messages(to, asked.bot)
        carrying = replace(
            made,
            severity=asked.severity,
            body=bot_messages.body(words, posted.model_dump_json(exclude_defaults=True)),
            origin=Origin.APPROVAL,
        )
        return Question(
            asked.id, asked.code, carrying, shown, partial(store.keep, asked=asked, messages=shown)
        )

    def _bot(self, posted: NewEvent, targets: Sequence[Target], place: Place) -> Bot:
        """The one bot that asks: its buttons come back to it, and it edits what it has shown."""
        names = {target.bot or posted.bot or DEFAULT for target in targets}
        if len(names) > 1:
            text = f"the routes give this question to {', '.join(sorted(names))}: a question has one bot"
            raise invalid_input([{"loc": [*place, "bot"], "msg": text}])
        return self.bots[names.pop()]

    def _approval(self, posted: NewEvent, made: messages.EventRecord, by: Bot, place: Place) -> Approval:
        if not by.allowed:
            raise invalid_input([{"loc": [*place, "type"], "msg": from_request.NOBODY}])
        now = made.accepted_at
        return Approval(
            id=str(uuid_utils.uuid7()),
            code=domain.new_code(),
            token=domain.new_token(),
            title=posted.title,
            prompt=posted.data.approval_prompt or "",
            options=_read_options(posted, place),
            approvers=tuple(sorted(by.allowed)),
            bot=by.name,
            client=made.client,
            source=posted.source,
            severity=(posted.severity or posted.data.severity or Severity.HIGH).value,
            correlation_id=made.correlation_id,
            event_id=made.id,
            trace=made.trace,
            created_at=now,
            expires_at=self._until(posted, now, place),
            callback_url=posted.callback_url,
            metadata=posted.data.metadata,
        )

    def _until(self, posted: NewEvent, now: float, place: Place) -> float:
        if posted.expires_at is None:
            return now + self.life
        try:
            at = posted.expires_at.timestamp()
        except (OverflowError, ValueError):
            at = float("inf")
        if not from_request.lives(at, now):
            raise invalid_input([{"loc": [*place, "expires_at"], "msg": from_request.NOT_THEN}])
        return at


async def are_taken(database: Database, codes: Sequence[str]) -> bool:
    """Whether two questions would have the same code: then these are made anew."""
    if len(set(codes)) < len(codes):
        return True
    return bool(codes) and await database.read("read", partial(store.taken, codes=codes))


def _read_options(posted: NewEvent, place: Place) -> tuple[Option, ...]:
    if posted.data.options is None:
        options = NewApproval(title=posted.title, prompt="?").options
    else:
        try:
            options = _options.validate_python(posted.data.options)
        except ValidationError as error:
            # A text is value and label at once, and would be told of twice.
            faults = {(fault["loc"][:1], fault["msg"]) for fault in error.errors(include_url=False)}
            raise invalid_input(
                [{"loc": [*place, "data", "options", *loc], "msg": msg} for loc, msg in sorted(faults)]
            ) from None
    return tuple(Option(option.value, option.label) for option in options)
