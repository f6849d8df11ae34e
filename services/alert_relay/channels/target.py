"""A target: where a notification goes, as text such as ``email:ops@example.org``. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Channel(StrEnum):
    TELEGRAM = "telegram"
    EMAIL = "email"
    SLACK = "slack"
    PAGERDUTY = "pagerduty"
    WEBHOOK = "webhook"
    APPRISE = "apprise"


@dataclass(frozen=True, slots=True)
class Target:
    channel: Channel
    address: str

    @classmethod
    def parse(cls, text: str) -> "Target":
        channel, _, address = text.partition(":")
        return cls(Channel(channel), address)

    def __str__(self) -> str:
        return f"{self.channel.value}:{self.address}"
