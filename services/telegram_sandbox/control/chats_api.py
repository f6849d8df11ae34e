"""The control API of chats: create them, act as a person in them, change what they allow."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request
from pydantic import Base64Bytes, Field

from services.contracts.fields import NoBool
from services.kit.errors import Problem
from services.telegram_sandbox.control import person_actions
from services.telegram_sandbox.control.api import (
    LONGEST_BODY,
    MAX_ID,
    MOST,
    ChatId,
    Id,
    StrictForm,
    Words,
    sandbox_of,
)
from services.telegram_sandbox.state.chats import Chat, ChatType
from services.telegram_sandbox.state.sandbox import CHAT_STATE

router = APIRouter(prefix="/control/chats", tags=["control"])


#: Largest file of a person, bytes: more than bots can download.
LARGEST_FILE = 64 << 20
GroupId = Annotated[int, Field(ge=-MAX_ID, lt=0), NoBool]


class NewChat(StrictForm):
    id: ChatId
    type: ChatType = ChatType.PRIVATE
    title: Words = ""
    username: Words | None = None
    topics: dict[Id, Words] = Field(
        {},
        max_length=MOST,
        description="a supergroup with topics is a forum",
        json_schema_extra={"propertyNames": {"pattern": "^[0-9]{1,16}$"}},
    )
    started: bool = True


class NewRange(StrictForm):
    first_id: int = Field(ge=1, le=MAX_ID)
    count: int = Field(ge=1, le=100_000)


class NewFile(StrictForm):
    """A file of a person; the bot gets it as the given kind."""

    kind: Literal["photo", "document", "audio", "video", "animation", "voice", "sticker", "video_note"]
    content: Base64Bytes = Field(max_length=LONGEST_BODY, description="in base64")
    size: int = Field(
        0, ge=0, le=LARGEST_FILE, description="bytes; a shorter content is filled up with zeros"
    )
    name: Words = "file"
    media_type: Words = ""

    def sent(self) -> person_actions.NewFile:
        data = self.content.ljust(self.size, b"\0")
        return person_actions.NewFile(self.kind, data, self.name, self.media_type)


class Location(StrictForm):
    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)


class NewText(StrictForm):
    text: str = Field("", max_length=LONGEST_BODY, description="of a file, its caption")
    file: NewFile | None = None
    location: Location | None = None
    person_id: ChatId | None = Field(None, description="writer, in a group; default: Ada, 1001")
    thread_id: Id | None = None
    reply_to: Id | None = None


class NewTap(StrictForm):
    """The button, by its callback data or by its text."""

    data: Words | None = None
    text: Words | None = None
    person_id: ChatId | None = None


def _chat(request: Request, chat_id: int) -> Chat:
    try:
        return person_actions.chat_of(sandbox_of(request), chat_id)
    except person_actions.NotPossibleError as error:
        raise Problem(404, "Not Found", str(error)) from None


def _state(chat: Chat) -> dict[str, Any]:
    return {name: getattr(chat, name) for name in CHAT_STATE} | {"messages": len(chat.messages)}


@router.post("", status_code=201, summary="Create a chat that the bot may write to")
async def create_chat(request: Request, form: NewChat) -> dict[str, Any]:
    sandbox = sandbox_of(request)
    if sandbox.chats.get(form.id) is not None:
        raise Problem(409, "Conflict", f"there is a chat {form.id} already")
    if form.id == 0 or (form.id > 0) != (form.type is ChatType.PRIVATE):
        raise Problem(422, "Invalid input", "ids of private chats are positive, ids of other chats negative")
    title = form.title or f"{form.type.title()} {form.id}"
    chat = Chat(form.id, form.type, title, form.username, dict(form.topics), started=form.started)
    return _state(sandbox.add_chat(chat))


@router.post("/range", status_code=201, summary="Create many private chats with consecutive ids")
async def create_range(request: Request, form: NewRange) -> dict[str, int]:
    sandbox = sandbox_of(request)
    fresh = [i for i in range(form.first_id, form.first_id + form.count) if sandbox.chats.get(i) is None]
    for chat_id in fresh:
        sandbox.add_chat(Chat(chat_id, ChatType.PRIVATE, f"Person {chat_id}"))
    return {"created": len(fresh)}


@router.get("/{chat_id}", summary="A chat's state")
async def get_chat(request: Request, chat_id: ChatId) -> dict[str, Any]:
    return _state(_chat(request, chat_id))


@router.post(
    "/{chat_id}/say", status_code=201, summary="Send a text or a file as a person; returns the message"
)
async def say(request: Request, chat_id: ChatId, form: NewText) -> dict[str, Any]:
    _chat(request, chat_id)
    other = {"location": form.location.model_dump()} if form.location else {}
    sent = person_actions.Sent(form.text, form.file.sent() if form.file else None, other)
    try:
        return person_actions.say(
            sandbox_of(request),
            chat_id,
            sent,
            person_id=form.person_id,
            thread_id=form.thread_id,
            reply_to=form.reply_to,
        )
    except person_actions.NotPossibleError as error:
        raise Problem(409, "Conflict", str(error)) from None


@router.post(
    "/{chat_id}/messages/{message_id}/tap", status_code=201, summary="Tap an inline button as a person"
)
async def tap(request: Request, chat_id: ChatId, message_id: Id, form: NewTap) -> dict[str, str]:
    _chat(request, chat_id)
    try:
        query_id = person_actions.tap(
            sandbox_of(request),
            chat_id,
            message_id,
            data=form.data,
            label=form.text,
            person_id=form.person_id,
        )
    except person_actions.NotPossibleError as error:
        raise Problem(409, "Conflict", str(error)) from None
    return {"callback_query_id": query_id}


Change = Literal[
    "block",
    "unblock",
    "deactivate",
    "kick",
    "leave",
    "join",
    "delete",
    "restrict",
    "allow",
    "forbid-pins",
    "allow-pins",
]


@router.post(
    "/{chat_id}/{change}",
    summary="Block, unblock, deactivate, kick, leave, join, delete, restrict, allow, forbid or allow pins",
)
async def change_chat(request: Request, chat_id: ChatId, change: Change) -> dict[str, Any]:
    sandbox, chat = sandbox_of(request), _chat(request, chat_id)
    try:
        match change:
            case "block" | "unblock":
                person_actions.set_blocked(sandbox, chat, blocked=change == "block")
            case "deactivate":
                person_actions.deactivate(sandbox, chat)
            case "kick" | "leave" | "join":
                person_actions.set_member(sandbox, chat, member=change == "join", kicked=change == "kick")
            case "delete":
                person_actions.delete(sandbox, chat)
            case "forbid-pins" | "allow-pins":
                person_actions.restrict_pins(sandbox, chat, can_pin=change == "allow-pins")
            case _:
                person_actions.restrict(sandbox, chat, can_send=change == "allow")
    except person_actions.NotPossibleError as error:
        raise Problem(409, "Conflict", str(error)) from None
    return _state(chat)


@router.put("/{chat_id}/upgrade", summary="Turn a group into a supergroup with a new id")
async def upgrade(
    request: Request, chat_id: ChatId, new_id: Annotated[GroupId, Body(embed=True)]
) -> dict[str, Any]:
    try:
        return _state(person_actions.upgrade(sandbox_of(request), _chat(request, chat_id), new_id))
    except person_actions.NotPossibleError as error:
        raise Problem(409, "Conflict", str(error)) from None


@router.put("/{chat_id}/topics/{topic_id}", summary="Create, close or reopen a topic")
async def put_topic(
    request: Request,
    chat_id: ChatId,
    topic_id: Annotated[int, Field(ge=1, le=MAX_ID)],
    name: Annotated[str, Body(min_length=1, max_length=128)],
    closed: Annotated[bool, Body(strict=True)] = False,
) -> dict[str, Any]:
    sandbox, chat = sandbox_of(request), _chat(request, chat_id)
    if chat.type is not ChatType.SUPERGROUP:
        raise Problem(409, "Conflict", "only supergroups have topics")
    chat.topics[topic_id] = name
    (chat.closed_topics.add if closed else chat.closed_topics.discard)(topic_id)
    sandbox.chat_changed(chat, "topic")
    return _state(chat)
