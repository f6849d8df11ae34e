"""What people sent to a bot: texts, files, replies, taps and commands, as the bridge returns them."""

from typing import Annotated, Literal

from pydantic import BaseModel

from services.contracts.fields import A_TIME, A_TRACE, AN_ID, about


class User(BaseModel):
    """A person as Telegram describes them."""

    id: Annotated[int, about("Telegram's ID of the person", 1001)]
    name: Annotated[str, about("first and last name", "Ada Lovelace")]
    username: Annotated[str | None, about("username without the @", "ada")]


class InReplyTo(BaseModel):
    """What a response answers; null if it answers no message of the bridge."""

    message_id: Annotated[str | None, about("ID of the message", AN_ID)]
    event_id: Annotated[str | None, about("ID of the message's event", AN_ID)]
    approval_id: Annotated[str | None, about("ID of the approval", AN_ID)]


class SentAttachment(BaseModel):
    """A file that a person sent. Its content stays with Telegram until it is read at `url`."""

    kind: Annotated[
        Literal["photo", "document", "audio", "video", "animation", "voice", "video_note", "sticker"],
        about("what the person sent it as", "photo"),
    ]
    size: Annotated[int | None, about("bytes; null if Telegram does not say", 482_113)]
    media_type: Annotated[str, about("media type, as Telegram says", "image/jpeg")]
    filename: Annotated[str | None, about("name of the file on the person's device", "plan.pdf")]
    width: Annotated[int | None, about("pixels", 1_280)]
    height: Annotated[int | None, about("pixels", 960)]
    duration: Annotated[int | None, about("seconds", 12)]
    url: Annotated[
        str,
        about("the file itself, fetched from Telegram when it is read", f"/api/v1/responses/{AN_ID}/file"),
    ]


class Response(BaseModel):
    """One text, file, reply, tap or command of a person."""

    id: Annotated[str, about("ID of the response", AN_ID)]
    at: Annotated[str, about("when it was received", A_TIME)]
    kind: Annotated[
        Literal["text", "reply", "tap", "command", "file"],
        about("kind of response; a file that is a reply has the kind `reply`", "reply"),
    ]
    bot: Annotated[str, about("bot that received it", "default")]
    chat_id: Annotated[int | None, about("chat in which it was sent", 1001)]
    thread_id: Annotated[int | None, about("topic of the chat", 7)]
    user: Annotated[User, about("person who sent it")]
    text: Annotated[
        str,
        about(
            "the text; of a file its caption, or empty; of a tap the chosen option, or the button's data",
            "Looks good",
        ),
    ]
    telegram_message_id: Annotated[int | None, about("Telegram's ID of the message", 43)]
    in_reply_to: Annotated[InReplyTo, about("what it answers")]
    correlation_id: Annotated[str | None, about("correlation ID of what it answers", "order-4711")]
    outcome: Annotated[
        str | None, about("result of an answer to an approval: decided, late, foreign, …", "decided")
    ]
    attachment: Annotated[SentAttachment | None, about("the file; null if the person sent none")] = None
    trace_id: Annotated[str | None, about("its trace, linked to the trace of what it answers", A_TRACE)]


class Responses(BaseModel):
    """A page of responses, oldest first."""

    items: Annotated[list[Response], about("at most `limit` responses")]
    next_cursor: Annotated[str, about("pass it as `cursor`: the next page starts after it", "17")]
