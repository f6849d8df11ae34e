"""What people sent to a bot, as the bridge tells it."""

from typing import Annotated, Literal

from pydantic import BaseModel

from services.contracts.fields import A_TIME, A_TRACE, AN_ID, about


class User(BaseModel):
    """A person, as Telegram names them."""

    id: Annotated[int, about("Telegram's id", 1001)]
    name: Annotated[str, about("first and last name", "Ada Lovelace")]
    username: Annotated[str | None, about("without the @", "ada")]


class InReplyTo(BaseModel):
    """What a response answers; null where it answers nothing of ours."""

    message_id: Annotated[str | None, about("the message", AN_ID)]
    event_id: Annotated[str | None, about("its event", AN_ID)]
    approval_id: Annotated[str | None, about("the question", AN_ID)]


class Response(BaseModel):
    """Something that a person sent."""

    id: Annotated[str, about("of the response", AN_ID)]
    at: Annotated[str, about("when it was received", A_TIME)]
    kind: Annotated[Literal["text", "reply", "tap", "command"], about("what it is", "reply")]
    bot: Annotated[str, about("that was spoken to", "default")]
    chat_id: Annotated[int | None, about("where it was said", 1001)]
    thread_id: Annotated[int | None, about("the topic of the chat", 7)]
    user: Annotated[User, about("who")]
    text: Annotated[str, about("what was said; of a tap the option", "Looks good")]
    telegram_message_id: Annotated[int | None, about("Telegram's id of it", 43)]
    in_reply_to: Annotated[InReplyTo, about("what it answers")]
    correlation_id: Annotated[str | None, about("of what it answers", "order-4711")]
    outcome: Annotated[str | None, about("of a tap: decided, late, foreign, …", "decided")]
    trace_id: Annotated[str | None, about("of its own trace, linked to what it answers", A_TRACE)]


class Responses(BaseModel):
    """What people sent, oldest first."""

    items: Annotated[list[Response], about("up to `limit`")]
    next_cursor: Annotated[str, about("hand it back as `cursor`: the next page begins after it", "17")]
