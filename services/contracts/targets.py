"""Targets of notifications as alert-relay returns them; none has a secret."""

from typing import Annotated

from pydantic import BaseModel, Field

from services.contracts.fields import Strict, about, storable

#: Characters of a target's text.
LONGEST_TARGET = 330


class Receipt(BaseModel):
    """What a channel answered to the last message that it took."""

    at: str = Field(description="RFC 3339")
    detail: str = Field(description="the channel's words; empty: of Telegram, which answered with an id")


class TargetFailure(BaseModel):
    """The last attempt that a channel did not take, or gave no answer to."""

    at: str = Field(description="RFC 3339")
    reason: str = Field(description="why, from a fixed list: connect_failed, bad_request, …")
    detail: str = Field(description="the channel's words")


class NotificationTarget(BaseModel):
    """Where notifications may go."""

    target: str = Field(description="such as email:ada@example.com")
    all_alerts: bool = Field(description="whether it gets every alert: ALERT_CHAT_IDS and ALERT_TARGETS")
    last_receipt: Receipt | None = Field(description="null: none is stored")
    last_failure: TargetFailure | None = Field(description="null: none is stored")


class TargetList(BaseModel):
    targets: list[NotificationTarget]


class TargetTest(Strict):
    """A test of one target."""

    target: Annotated[str, storable(LONGEST_TARGET, 1), about("of which channel", "email:ada@example.com")]


class TargetTested(BaseModel):
    """A test message that is stored; it is sent as every notification."""

    message_id: str
    target: str
