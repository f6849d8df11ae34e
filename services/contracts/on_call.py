"""Whom alert-relay notifies of an alert, and when."""

from pydantic import BaseModel, Field

from services.contracts.alertmanager import MOST_LABELS, Str
from services.contracts.fields import Strict


class RouteTest(Strict):
    """The labels of an alert; nothing is sent."""

    # A webhook's labels may be numbers; what a person writes is text, as the schema says.
    labels: dict[Str, Str] = Field(
        max_length=MOST_LABELS, description="of an alert", examples=[{"alertname": "DiskFull"}]
    )


class RouteLevel(BaseModel):
    """A level of escalation."""

    after_seconds: float = Field(description="from the first notification")
    targets: list[str]


class RoutePlan(BaseModel):
    """Whom an incident of such alerts notifies while no person acknowledges it."""

    policy: str | None = Field(description="name of the escalation policy; null: ON_CALL_FILE is not set")
    levels: list[RouteLevel]
    repeat_every_seconds: float = Field(description="the levels begin anew after this time; 0: they do not")
    repeat_times: int
    receipt_within_seconds: float = Field(description="a notification must have arrived within this time")
    fallback: list[str] = Field(description="targets that are notified if nothing has arrived")
