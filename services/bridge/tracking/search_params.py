"""Query parameters and bodies of the tracking routes."""

from typing import Annotated, Self

from fastapi import Query
from pydantic import BaseModel, Field, field_validator, model_validator

from services.bridge.tracking import jobs
from services.contracts.details import validation_error
from services.contracts.fields import A_TIME, BotName, ChatId, Moment, Strict, Words, about
from services.outbox.intake.cancel_replay import REPLAYABLE
from services.outbox.messages import MessageState, Reason
from services.outbox.queries.message_search import Search

Cursor = Annotated[int | None, Query(ge=1, le=2**53), about("`next_cursor` of the previous page", 4711)]
#: The strict integer of a body would refuse a query's text.
QueriedChat = Annotated[int | None, Query(ge=-(2**53), le=2**53), about("the recipient", 1001)]
#: A repeated state, type or reason changes nothing.
States = Annotated[list[MessageState], Field(max_length=100)]
Types = Annotated[list[Words], Field(max_length=100)]
Reasons = Annotated[list[Reason], Field(max_length=100)]


class Period(BaseModel):
    """When messages were accepted."""

    since: Annotated[Moment | None, about("accepted at or after", A_TIME)] = None
    until: Annotated[Moment | None, about("accepted before", A_TIME)] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since and self.until and self.until < self.since:
            raise validation_error(type(self).__name__, {("until",): "until is before since"})
        return self

    def seconds(self) -> tuple[float | None, float | None]:
        """Both times as seconds since the epoch."""
        return (
            self.since.timestamp() if self.since else None,
            self.until.timestamp() if self.until else None,
        )


class Decision(Strict):
    """Why a message is cancelled or replayed; shown with the message."""

    reason: Annotated[Words, about("the reason, for people", "sent by mistake")] = ""


class Letters(Period, extra="forbid"):
    """Selects dead letters; all conditions must match."""

    reason: Annotated[Reasons, about("with one of these reasons", ["chat_not_found"])] = []
    type: Annotated[Words | None, about("type of the event", "build_failed")] = None
    chat_id: QueriedChat = None
    bot: Annotated[BotName | None, about("which bot sent it", "default")] = None
    correlation_id: Annotated[Words | None, about("of the event", "order-4711")] = None
    q: Annotated[Words | None, about("part of the title", "Build")] = None
    cursor: Cursor = None
    limit: Annotated[int, Query(ge=1, le=500), about("largest number of messages", 50)] = 50


class Replay(Period, Strict):
    """Selects messages to replay; all conditions must match. Without any: every dead letter."""

    status: Annotated[
        Annotated[list[MessageState], Field(min_length=1, max_length=100)],
        about("final states", ["dead_letter"]),
    ] = Field([MessageState.DEAD_LETTER])
    reason: Annotated[Reasons, about("reasons; an empty list is any", ["chat_not_found"])] = Field([])
    type: Annotated[Words | None, about("type of the event", "build_failed")] = None
    chat_id: Annotated[ChatId | None, about("the recipient", 1001)] = None
    bot: Annotated[BotName | None, about("which bot sent it", "default")] = None
    correlation_id: Annotated[Words | None, about("of the event", "order-4711")] = None
    q: Annotated[Words | None, about("part of the title", "Build")] = None
    why: Annotated[Words, about("reason, shown with every message", "the chat is back")] = ""

    @field_validator("status")
    @classmethod
    def _replayable(cls, states: list[MessageState]) -> list[MessageState]:
        wrong = [state.value for state in states if state not in REPLAYABLE]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} cannot be replayed")
        return sorted(set(states))


def search(
    wanted: Letters | Replay,
    states: list[MessageState],
    *,
    before: int | None = None,
    limit: int = jobs.PORTION,
) -> Search:
    """The engine's search for these parameters."""
    since, until = wanted.seconds()
    return Search(
        states=[state.value for state in states],
        reasons=[reason.value for reason in wanted.reason],
        type=wanted.type,
        chat_id=wanted.chat_id,
        bot=wanted.bot,
        correlation_id=wanted.correlation_id,
        since=since,
        until=until,
        text=wanted.q,
        before=before,
        limit=limit,
    )
