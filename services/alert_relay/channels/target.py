"""A target: a channel and an address of it, where notifications go. Pure.

Its text is what settings, requests and pages have: ``telegram:-1001234/7``, ``email:ada@example.com``,
``slack:operations``. A target never has a secret: the address of a channel that needs one is a name, and the
settings have the secret under this name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from services.outbox.telegram import values


class Channel(StrEnum):
    """A way to people."""

    TELEGRAM = "telegram"
    EMAIL = "email"
    SLACK = "slack"
    PAGERDUTY = "pagerduty"
    WEBHOOK = "webhook"
    APPRISE = "apprise"


#: What an address of each channel is.
FORMS: Mapping[Channel, str] = {
    Channel.TELEGRAM: "telegram:CHAT_ID or telegram:CHAT_ID/TOPIC",
    Channel.EMAIL: "email:ADDRESS",
    Channel.SLACK: "slack:NAME",
    Channel.PAGERDUTY: "pagerduty:NAME",
    Channel.WEBHOOK: "webhook:NAME",
    Channel.APPRISE: "apprise:NAME",
}
#: Characters of a target's text.
LONGEST = 330
NAME_FORM = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_NAME = re.compile(NAME_FORM)
_CHAT = re.compile(r"(-?[0-9]{1,16})(?:/([0-9]{1,16}))?")
# Without quoted local parts, comments and characters beyond ASCII, which many servers do not take.
_EMAIL = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*"
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_LONGEST_EMAIL = 254


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where notifications go.

    Args:
        channel: that leads there.
        address: of the channel: a chat, a mail address, a name of the settings.
    """

    channel: Channel
    address: str

    def __str__(self) -> str:
        return f"{self.channel}:{self.address}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the target that a text names.

        Raises:
            ValueError: it names none; the error says what is wrong, and which form is valid.
        """
        name, colon, address = text.strip().partition(":")
        if len(text) > LONGEST:
            raise ValueError(f"a target has at most {LONGEST} characters")
        if not colon or name.lower() not in set(Channel):
            raise ValueError(f"{text!r} names no channel; write one of {', '.join(FORMS.values())}")
        channel = Channel(name.lower())
        return cls(channel, _normal(channel, address.strip()))

    @classmethod
    def telegram(cls, chat_id: int, thread_id: int | None = None) -> Self:
        """Returns the target of a chat, or of a topic of it."""
        return cls(Channel.TELEGRAM, str(chat_id) if thread_id is None else f"{chat_id}/{thread_id}")

    @property
    def chat(self) -> tuple[int, int | None] | None:
        """The ids of Telegram's chat and topic; None: it is no chat of Telegram."""
        if self.channel is not Channel.TELEGRAM:
            return None
        chat_id, _, thread_id = self.address.partition("/")
        return int(chat_id), int(thread_id) if thread_id else None


def _normal(channel: Channel, address: str) -> str:
    """Returns an address as it is compared: one spelling for each target."""
    try:
        if channel is Channel.TELEGRAM:
            return _chat(address)
        return _email(address) if channel is Channel.EMAIL else _name(address)
    except ValueError as error:
        raise ValueError(f"{channel}:{address[:100]}: {error}; write {FORMS[channel]}") from None


def _chat(address: str) -> str:
    found = _CHAT.fullmatch(address)
    if found is None:
        raise ValueError("a chat is its id, a number; names and @usernames are not read here")
    chat_id = values.chat_id(int(found[1]))
    return str(chat_id) if found[2] is None else f"{chat_id}/{values.positive_id(int(found[2]))}"


def _email(address: str) -> str:
    if len(address) > _LONGEST_EMAIL or _EMAIL.fullmatch(address) is None:
        raise ValueError("this is no mail address such as ada@example.com")
    local, _, domain = address.rpartition("@")
    return f"{local}@{domain.lower()}"


def _name(address: str) -> str:
    if _NAME.fullmatch(address) is None:
        raise ValueError("a name has letters, digits, '.', '_' and '-', at most 64")
    return address
