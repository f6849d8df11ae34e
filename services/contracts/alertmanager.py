"""What Alertmanager posts to a webhook, version 4, and what its API answers, version 2, as far as it is read.

Source: ``notify/webhook/webhook.go`` and ``template/template.go`` of Alertmanager; the fields of
0.25 are asked for, those that came later are known or ignored. Nothing here says what to think of
it: that ``status`` is no reason to close anything, and ``receiver`` is quoted, is the reader's to know.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.contracts.fields import Moment


class Status(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"


def _storable(text: str) -> str:
    """JSON may carry half a surrogate pair, which is no character, and NUL, which PostgreSQL refuses."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


Str = Annotated[str, AfterValidator(_storable)]
Labels = dict[Str, Str]


class Alert(BaseModel):
    model_config = ConfigDict(frozen=True)

    status: Status
    labels: Labels
    annotations: Labels
    startsAt: Moment  # noqa: N815 - Alertmanager's spelling
    endsAt: Moment = Field(description="0001-01-01T00:00:00Z while firing")  # noqa: N815 - the same
    generatorURL: Str  # noqa: N815 - the same
    fingerprint: str = Field(pattern="^[0-9a-f]{16}$", description="hash of the label set")


class Webhook(BaseModel):
    model_config = ConfigDict(frozen=True)

    version: Literal["4"]
    groupKey: Str  # noqa: N815 - Alertmanager's spelling
    truncatedAlerts: int = Field(0, ge=0, le=2**63 - 1, description="alerts cut off by max_alerts")  # noqa: N815 - the same
    status: Status = Field(description="resolved when every listed alert is; the group may not be")
    receiver: Str = Field(description="name of the receiver, quoted as a regular expression")
    externalURL: Str = Field(max_length=500)  # noqa: N815 - the same
    groupLabels: Labels  # noqa: N815 - the same
    commonLabels: Labels  # noqa: N815 - the same
    commonAnnotations: Labels  # noqa: N815 - the same
    notification_reason: Str = Field("", description="from 0.32 on")
    alerts: list[Alert]


class ApiAlertStatus(BaseModel):
    state: str = Field(description="active, suppressed or unprocessed")


class ApiAlert(BaseModel):
    """An alert that fires, as the API has it."""

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
    """One of ``GET /api/v2/alerts/groups``: what one receiver is told of together."""

    model_config = ConfigDict(frozen=True)

    labels: Labels
    receiver: ApiReceiver
    alerts: list[ApiAlert]


class ApiStatus(BaseModel):
    """``GET /api/v2/status``."""

    uptime: Moment = Field(description="when it started")
