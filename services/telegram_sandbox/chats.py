"""Chats, people and the messages they keep: what Telegram itself would remember."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from services.telegram_sandbox import refusals

GENERAL_TOPIC = 1  # its id must be left out by bots
IDS_BEGAN = 1_735_689_600  # 2025-01-01; ids begin at the seconds since then


class ChatType(StrEnum):
    PRIVATE = "private"
    GROUP = "group"
    SUPERGROUP = "supergroup"
    CHANNEL = "channel"


@dataclass(slots=True)
class Message:
    """A message as the Bot API shows it (`wire`), and what only the sandbox knows of it."""

    wire: dict[str, Any]
    bot_id: int | None  #: None: a person wrote it
    silent: bool = False
    toast: str | None = None  #: what answerCallbackQuery showed last
    reaction: str | None = None  #: the emoji that a bot reacted with

    @property
    def id(self) -> int:
        return int(self.wire["message_id"])

    @property
    def thread_id(self) -> int | None:
        return self.wire.get("message_thread_id")


def emoji_of(reaction: Any) -> str | None:
    """The first emoji of what setMessageReaction was asked for; None takes a reaction away."""
    signs = reaction if isinstance(reaction, list) else []
    return next((str(sign["emoji"]) for sign in signs if isinstance(sign, dict) and "emoji" in sign), None)


@dataclass(slots=True)
class Chat:
    """One chat and everything that decides whether a bot may write to it."""

    id: int
    type: ChatType
    title: str = ""  #: a private chat: the person's first name
    username: str | None = None
    topics: dict[int, str] = field(default_factory=dict)  #: not empty: the supergroup is a forum
    closed_topics: set[int] = field(default_factory=set)
    started: bool = True  #: private: the person has opened the chat with the bot
    blocked: bool = False
    deactivated: bool = False
    member: bool = True  #: the bot is in it
    kicked: bool = False
    deleted: bool = False
    can_send: bool = True
    migrated_to: int | None = None
    messages: dict[int, Message] = field(default_factory=dict)
    unsent: int = 0  #: messages that the server holds back for flood control

    @property
    def is_group(self) -> bool:
        return self.type is not ChatType.PRIVATE

    def wire(self) -> dict[str, Any]:
        """The Chat object inside messages and updates."""
        shown: dict[str, Any] = {"id": self.id, "type": self.type.value}
        shown["first_name" if self.type is ChatType.PRIVATE else "title"] = self.title
        if self.username:
            shown["username"] = self.username
        if self.topics:
            shown["is_forum"] = True
        return shown

    def user(self) -> dict[str, Any]:
        """The person of a private chat."""
        shown = {"id": self.id, "is_bot": False, "first_name": self.title, "language_code": "en"}
        return shown | ({"username": self.username} if self.username else {})

    def check_writable(self, kind: str = "text messages") -> None:
        """Raise what Telegram answers when a bot may not write here."""
        if self.migrated_to is not None:
            raise refusals.migrated(self.migrated_to)
        if self.type is ChatType.PRIVATE:
            self._check_person()
            return
        if self.deleted:
            raise refusals.forbidden("the group chat was deleted")
        if self.kicked:
            raise refusals.forbidden(f"bot was kicked from the {self.type} chat")
        if not self.member:
            raise refusals.forbidden(f"bot is not a member of the {self.type} chat")
        if not self.can_send:
            if self.type is ChatType.CHANNEL:
                raise refusals.bad_request("need administrator rights in the channel chat")
            raise refusals.bad_request(f"not enough rights to send {kind} to the chat")

    def check_topic(self, thread_id: int | None) -> None:
        if thread_id is None:
            return
        if thread_id == GENERAL_TOPIC or thread_id not in self.topics:
            raise refusals.bad_request("message thread not found")
        if thread_id in self.closed_topics:
            raise refusals.bad_request("TOPIC_CLOSED")

    def _check_person(self) -> None:
        if self.deactivated:
            raise refusals.forbidden("user is deactivated")
        if self.blocked:
            raise refusals.forbidden("bot was blocked by the user")
        if not self.started:
            raise refusals.forbidden("bot can't initiate conversation with a user")


class Chats:
    """All chats by id, and the counters of their message ids.

    Private chats and basic groups share one counter; supergroups and channels have their own, as in Telegram.
    A counter begins at the seconds since 2025: ids do not come back after the kept state was deleted.
    """

    def __init__(self, kept_messages: int) -> None:
        self._kept = kept_messages
        self._by_id: dict[int, Chat] = {}
        self._shared_last_id = 0
        self._last_ids: dict[int, int] = {}

    def __iter__(self) -> Iterator[Chat]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def clear(self) -> None:
        """Forget all chats; the counters go on."""
        self._by_id.clear()

    def add(self, chat: Chat) -> Chat:
        self._by_id[chat.id] = chat
        return chat

    def get(self, chat_id: int) -> Chat | None:
        return self._by_id.get(chat_id)

    def find(self, wanted: str) -> Chat:
        """The chat that a request's `chat_id` names: an integer or @username."""
        if not wanted:
            raise refusals.bad_request("chat_id is empty")
        if wanted.startswith("@"):
            name = wanted[1:].lower()
            chat = next((chat for chat in self if (chat.username or "").lower() == name), None)
        else:
            chat = self._by_id.get(_whole(wanted))
        if chat is None:
            raise refusals.bad_request("chat not found")
        return chat

    def next_message_id(self, chat: Chat, now: float) -> int:
        begin = int(now) - IDS_BEGAN
        if chat.type in (ChatType.SUPERGROUP, ChatType.CHANNEL):
            number = self._last_ids.get(chat.id, begin) + 1
            self._last_ids[chat.id] = number
        else:
            number = (self._shared_last_id or begin) + 1
            self._shared_last_id = number
        return number

    def keep(self, chat: Chat, message: Message) -> None:
        """Store a new message; the oldest ones leave when the chat is full."""
        chat.messages[message.id] = message
        self.saw_message_id(chat, message.id)
        while len(chat.messages) > self._kept:
            del chat.messages[next(iter(chat.messages))]

    def saw_message_id(self, chat: Chat, number: int) -> None:
        if chat.type in (ChatType.SUPERGROUP, ChatType.CHANNEL):
            self._last_ids[chat.id] = max(self._last_ids.get(chat.id, 0), number)
        else:
            self._shared_last_id = max(self._shared_last_id, number)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0
