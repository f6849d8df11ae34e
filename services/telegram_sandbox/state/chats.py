"""Chats with their people and messages, and the errors of chats that a bot may not write to."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from services.telegram_sandbox import errors

GENERAL_TOPIC = 1  # bots must not name it
INTEGER = re.compile(r"-?[0-9]{1,19}")
ID_EPOCH = 1_735_689_600  # 2025-01-01; message ids start at the seconds since then


class ChatType(StrEnum):
    PRIVATE = "private"
    GROUP = "group"
    SUPERGROUP = "supergroup"
    CHANNEL = "channel"


@dataclass(slots=True)
class Message:
    """A message: its Bot API JSON (`wire`), and details that only the sandbox needs."""

    wire: dict[str, Any]
    bot_id: int | None  #: None: a person wrote it
    silent: bool = False
    toast: str | None = None  #: the last text of answerCallbackQuery
    reaction: str | None = None  #: the emoji of a bot's reaction
    pinned: bool = False

    @property
    def id(self) -> int:
        return int(self.wire["message_id"])

    @property
    def thread_id(self) -> int | None:
        return self.wire.get("message_thread_id")


def emoji_of(reaction: Any) -> str | None:
    """Returns the first emoji of a setMessageReaction; None removes the reaction."""
    kinds = reaction if isinstance(reaction, list) else []
    return next((str(kind["emoji"]) for kind in kinds if isinstance(kind, dict) and "emoji" in kind), None)


@dataclass(slots=True)
class Chat:
    """One chat, with everything that decides whether a bot may write to it."""

    id: int
    type: ChatType
    title: str = ""  #: a private chat: the person's first name
    username: str | None = None
    topics: dict[int, str] = field(default_factory=dict)  #: a supergroup with topics is a forum
    closed_topics: set[int] = field(default_factory=set)
    started: bool = True  #: whether the person of a private chat has started the bot
    blocked: bool = False
    deactivated: bool = False
    member: bool = True  #: whether the bot is a member
    kicked: bool = False
    deleted: bool = False
    can_send: bool = True
    can_pin: bool = True
    migrated_to: int | None = None
    messages: dict[int, Message] = field(default_factory=dict)
    unsent: int = 0  #: messages held by flood control

    @property
    def is_group(self) -> bool:
        return self.type is not ChatType.PRIVATE

    def wire(self) -> dict[str, Any]:
        """Returns the Bot API's Chat object."""
        shown: dict[str, Any] = {"id": self.id, "type": self.type.value}
        shown["first_name" if self.type is ChatType.PRIVATE else "title"] = self.title
        if self.username:
            shown["username"] = self.username
        if self.topics:
            shown["is_forum"] = True
        return shown

    def user(self) -> dict[str, Any]:
        """Returns the Bot API's User object of a private chat's person."""
        shown = {"id": self.id, "is_bot": False, "first_name": self.title, "language_code": "en"}
        return shown | ({"username": self.username} if self.username else {})

    def check_writable(self, kind: str = "text messages") -> None:
        """Checks whether a bot may write here.

        Raises:
            BotApiError: Telegram's answer if it may not.
        """
        if self.migrated_to is not None:
            raise errors.migrated(self.migrated_to)
        if self.type is ChatType.PRIVATE:
            self._check_person()
            return
        if self.deleted:
            raise errors.forbidden("the group chat was deleted")
        if self.kicked:
            raise errors.forbidden(f"bot was kicked from the {self.type} chat")
        if not self.member:
            raise errors.forbidden(f"bot is not a member of the {self.type} chat")
        if not self.can_send:
            if self.type is ChatType.CHANNEL:
                raise errors.bad_request("need administrator rights in the channel chat")
            raise errors.bad_request(f"not enough rights to send {kind} to the chat")

    def check_topic(self, thread_id: int | None) -> None:
        if thread_id is None:
            return
        if thread_id == GENERAL_TOPIC or thread_id not in self.topics:
            raise errors.bad_request("message thread not found")
        if thread_id in self.closed_topics:
            raise errors.bad_request("TOPIC_CLOSED")

    def _check_person(self) -> None:
        if self.deactivated:
            raise errors.forbidden("user is deactivated")
        if self.blocked:
            raise errors.forbidden("bot was blocked by the user")
        if not self.started:
            raise errors.forbidden("bot can't initiate conversation with a user")


class Chats:
    """All chats by id, and the counters of their message ids.

    Private chats and basic groups share one counter; supergroups and channels have their own, as in Telegram.
    A counter starts at the seconds since 2025, so ids are not reused after the stored state was deleted.
    """

    def __init__(self, max_messages: int) -> None:
        self._max_messages = max_messages
        self._by_id: dict[int, Chat] = {}
        self._shared_last_id = 0
        self._last_ids: dict[int, int] = {}

    def __iter__(self) -> Iterator[Chat]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def clear(self) -> None:
        """Removes all chats; the counters continue."""
        self._by_id.clear()

    def add(self, chat: Chat) -> Chat:
        self._by_id[chat.id] = chat
        return chat

    def get(self, chat_id: int) -> Chat | None:
        return self._by_id.get(chat_id)

    def find(self, chat_id: str) -> Chat:
        """Returns the chat of a request's `chat_id`: an integer or @username.

        Raises:
            BotApiError: there is no such chat.
        """
        if not chat_id:
            raise errors.bad_request("chat_id is empty")
        if chat_id.startswith("@"):
            # A person cannot be named by a username, only a public group or channel.
            name = chat_id[1:].lower()
            public = (chat for chat in self if chat.type is not ChatType.PRIVATE)
            chat = next((chat for chat in public if (chat.username or "").lower() == name), None)
        else:
            chat = self._by_id.get(_integer(chat_id))
        if chat is None:
            raise errors.bad_request("chat not found")
        return chat

    def next_message_id(self, chat: Chat, now: float) -> int:
        begin = int(now) - ID_EPOCH
        if chat.type in (ChatType.SUPERGROUP, ChatType.CHANNEL):
            number = self._last_ids.get(chat.id, begin) + 1
            self._last_ids[chat.id] = number
        else:
            number = (self._shared_last_id or begin) + 1
            self._shared_last_id = number
        return number

    def store(self, chat: Chat, message: Message) -> None:
        """Stores a message; deletes the oldest ones if there are too many."""
        chat.messages[message.id] = message
        self.note_message_id(chat, message.id)
        while len(chat.messages) > self._max_messages:
            del chat.messages[next(iter(chat.messages))]

    def note_message_id(self, chat: Chat, number: int) -> None:
        if chat.type in (ChatType.SUPERGROUP, ChatType.CHANNEL):
            self._last_ids[chat.id] = max(self._last_ids.get(chat.id, 0), number)
        else:
            self._shared_last_id = max(self._shared_last_id, number)


def _integer(text: str) -> int:
    return int(text) if INTEGER.fullmatch(text) else 0
