"""Chats by their names: which chat a name means, or why it means none. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.contracts.fields import plain_name
from services.kit.field_errors import did_you_mean


@dataclass(frozen=True, slots=True)
class NamedChat:
    """A chat that a client named by a text.

    Args:
        bot: whose chats are meant: each bot has its own settings of a chat.
        name: ``@username``, or a name of the chat's settings.
    """

    bot: str
    name: str

    @property
    def is_username(self) -> bool:
        return self.name.startswith("@")


#: The id of each named chat, or the text for the client that says why there is none.
Found = Mapping[NamedChat, int | str]


@dataclass(frozen=True, slots=True)
class ChatNames:
    """The names that the settings of one bot's chats give.

    Args:
        ids: of the chats, by the name as it is compared: names that look alike to a reader are one.
        written: the names as they were written, by the same.
    """

    ids: Mapping[str, tuple[int, ...]]
    written: Mapping[str, str]

    @classmethod
    def of(cls, named: Iterable[tuple[int, str]]) -> "ChatNames":
        """The names of chats, given as pairs of id and name; a chat without a name is left out."""
        ids: dict[str, tuple[int, ...]] = {}
        written: dict[str, str] = {}
        for chat_id, name in named:
            key = plain_name(name)
            if key and chat_id not in ids.get(key, ()):
                ids[key] = (*ids.get(key, ()), chat_id)
                written.setdefault(key, name)
        return cls(ids, written)

    def find(self, name: str) -> int | str:
        """The id of the chat, or why there is none."""
        key = plain_name(name)
        ids = self.ids.get(key, ())
        if len(ids) == 1:
            return ids[0]
        if ids:
            return f"{len(ids)} chats have this name: {', '.join(map(str, sorted(ids)))}; write the id"
        hint = did_you_mean(key, self.ids)
        for near, written in self.written.items():
            hint = hint.replace(f'"{near}"', f'"{written}"')
        return f"no chat has this name{hint}"
