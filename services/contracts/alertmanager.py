"""Models of Alertmanager's webhook payload, version 4, and of answers of its API, version 2.

They have only the fields that alert-relay reads. Source: ``notify/webhook/webhook.go`` and
``template/template.go`` of Alertmanager. Fields that 0.25 sends are required, except ``truncatedAlerts``;
later fields are optional or ignored. Only the ``status`` of an alert says that it is resolved: the group's
covers no alert that is missing in the payload.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.contracts.fields import Moment


class Status(StrEnum):
    """State of an alert or a group."""

    FIRING = "firing"
    RESOLVED = "resolved"


def _storable(text: str) -> str:
    """Replaces what a database refuses: half a surrogate pair, which JSON may carry, and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


Str = Annotated[str, AfterValidator(_storable)]
Labels = dict[Str, Str]


class Alert(BaseModel):
    """One alert of a webhook."""

    model_config = ConfigDict(frozen=True)

    status: Status
    labels: Labels
    annotations: Labels
    startsAt: Moment  # noqa: N815 - Alertmanager's spelling
    endsAt: Moment = Field(description="end of the alert; 0001-01-01T00:00:00Z while it fires")  # noqa: N815 - the same
    generatorURL: Str  # noqa: N815 - the same
    fingerprint: str = Field(pattern="^[0-9a-f]{16}$", description="hash of the labels")


class Webhook(BaseModel):
    """The payload of one notification: alerts of one group, for one receiver."""

    model_config = ConfigDict(frozen=True)

    version: Literal["4"]
    groupKey: Str  # noqa: N815 - Alertmanager's spelling
    truncatedAlerts: int = Field(0, ge=0, le=2**63 - 1, description="alerts left out because of max_alerts")  # noqa: N815 - the same
    status: Status = Field(
        description="resolved if all alerts of the payload are; others of the group may still fire"
    )
    receiver: Str = Field(
        description="name of the receiver, escaped by regexp.QuoteMeta of Go: a.b becomes a\\.b"
    )
    externalURL: Str = Field(max_length=500)  # noqa: N815 - the same
    groupLabels: Labels  # noqa: N815 - the same
    commonLabels: Labels  # noqa: N815 - the same
    commonAnnotations: Labels  # noqa: N815 - the same
    notification_reason: Str = Field("", description="sent by Alertmanager 0.32 and later")
    alerts: list[Alert]


class AlertSent(BaseModel):
    """The answer of alert-relay to a webhook that is on disk."""

    status: str = "alert_sent"
    timestamp: str


class ApiAlertStatus(BaseModel):
    """Whether an alert is silenced or inhibited (``suppressed``)."""

    state: str = Field(description="active, suppressed or unprocessed")


class ApiAlert(BaseModel):
    """An unresolved alert in an answer of the API; it may be silenced or inhibited."""

    model_config = ConfigDict(frozen=True)

    labels: Labels
    annotations: Labels
    startsAt: Moment  # noqa: N815 - Alertmanager's spelling
    generatorURL: Str = ""  # noqa: N815 - the same
    fingerprint: str = Field(pattern="^[0-9a-f]{16}$")
    status: ApiAlertStatus


class ApiReceiver(BaseModel):
    """A receiver of Alertmanager's configuration."""

    name: Str


class ApiGroup(BaseModel):
    """One group of ``GET /api/v2/alerts/groups``: alerts that one receiver gets in one notification."""

    model_config = ConfigDict(frozen=True)

    labels: Labels
    receiver: ApiReceiver
    alerts: list[ApiAlert]


class ApiStatus(BaseModel):
    """The answer of ``GET /api/v2/status``."""

    uptime: Moment = Field(description="when Alertmanager started")
