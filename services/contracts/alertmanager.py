"""Alertmanager's webhook payload, version 4, and the answers of its API, version 2, as far as they are read.

Source: ``notify/webhook/webhook.go`` and ``template/template.go`` of Alertmanager. The fields of 0.25 are
required; later ones are optional or ignored. Two traps: ``status`` of the group is no reason to close an
alert, and ``receiver`` is quoted as a regular expression.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.contracts.fields import Moment


class Status(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"


def _storable(text: str) -> str:
    """Replaces what a database refuses: half a surrogate pair, which JSON may carry, and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


Str = Annotated[str, AfterValidator(_storable)]
Labels = dict[Str, Str]


class Alert(BaseModel):
    model_config = ConfigDict(frozen=True)

    status: Status
    labels: Labels
    annotations: Labels
    startsAt: Moment  # noqa: N815 - Alertmanager's spelling
    endsAt: Moment = Field(description="end of the alert; 0001-01-01T00:00:00Z while it fires")  # noqa: N815 - the same
    generatorURL: Str  # noqa: N815 - the same
    fingerprint: str = Field(pattern="^[0-9a-f]{16}$", description="hash of the labels")


class Webhook(BaseModel):
    model_config = ConfigDict(frozen=True)

    version: Literal["4"]
    groupKey: Str  # noqa: N815 - Alertmanager's spelling
    truncatedAlerts: int = Field(0, ge=0, le=2**63 - 1, description="alerts left out because of max_alerts")  # noqa: N815 - the same
    status: Status = Field(description="resolved if every listed alert is; others of the group may fire")
    receiver: Str = Field(description="name of the receiver, quoted as a regular expression")
    externalURL: Str = Field(max_length=500)  # noqa: N815 - the same
    groupLabels: Labels  # noqa: N815 - the same
    commonLabels: Labels  # noqa: N815 - the same
    commonAnnotations: Labels  # noqa: N815 - the same
    notification_reason: Str = Field("", description="sent by Alertmanager 0.32 and later")
    alerts: list[Alert]


class ApiAlertStatus(BaseModel):
    state: str = Field(description="active, suppressed or unprocessed")


class ApiAlert(BaseModel):
    """A firing alert in an answer of the API."""

    model_config = ConfigDict(frozen=True)

    labels: Labels
    annotations: Labels
    startsAt: Moment  # noqa: N815 - Alertmanager's spelling
    generatorURL: Str = ""  # noqa: N815 - the same
    fingerprint: str = Field(pattern="^[0-9a-f]{16}$")
    status: ApiAlertStatus


class ApiReceiver(BaseModel):
    name: Str


class ApiGroup(BaseModel):
    """One group of ``GET /api/v2/alerts/groups``: alerts that one receiver is notified of together."""

    model_config = ConfigDict(frozen=True)

    labels: Labels
    receiver: ApiReceiver
    alerts: list[ApiAlert]


class ApiStatus(BaseModel):
    """The answer of ``GET /api/v2/status``."""

    uptime: Moment = Field(description="when Alertmanager started")
