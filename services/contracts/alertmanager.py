"""Models of Alertmanager's webhook payload, version 4, and of answers of its API, version 2.

They have only the fields that alert-relay reads. Source: ``notify/webhook/webhook.go`` and
``template/template.go`` of Alertmanager. Fields of the webhook that 0.25 sends are required, except
``truncatedAlerts``; later fields are optional or ignored. Only the ``status`` of an alert says that it is
resolved: the group's covers no alert that is missing in the payload.

Alertmanager does not repeat a webhook that is refused before its next interval. So an alert needs only what
makes it one (``status``, ``labels``, ``startsAt``), other values are read as far as possible, and an alert
that cannot be read is left out alone.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from services.contracts.fields import LARGEST_INT, AnyMoment
from services.kit import field_errors
from services.kit.field_errors import ErrorText


class Status(StrEnum):
    """State of an alert or a group."""

    FIRING = "firing"
    RESOLVED = "resolved"


# More than Alertmanager sends, since an alert that is refused is lost. MAX_BODY_BYTES is the real limit.
LONGEST_TEXT = 1 << 20
MOST_LABELS = 10_000
LONGEST_EXTERNAL_URL = 500
MOST_ALERTS = 100_000


def _storable(text: str) -> str:
    """Replaces what a database refuses: half a surrogate pair, which JSON may carry, and NUL."""
    # Not a constraint of pydantic, which would refuse half a pair before it is replaced.
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"a text has at most {LONGEST_TEXT} characters")
    return text.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


Str = Annotated[str, AfterValidator(_storable), WithJsonSchema({"type": "string", "maxLength": LONGEST_TEXT})]
# Alertmanager does not repeat a webhook that is refused: a URL that is too long is cut instead.
ExternalUrl = Annotated[Str, AfterValidator(lambda url: url[:LONGEST_EXTERNAL_URL])]
_FINGERPRINT = re.compile("[0-9a-f]{16}")
Fingerprint = Annotated[
    str, Field(pattern=f"^{_FINGERPRINT.pattern}$"), ErrorText("write 16 hexadecimal digits")
]


def _as_text(value: Any) -> Any:
    """A label's value; a program that writes webhooks itself may send numbers, true, or null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _or_empty(value: Any) -> Any:
    return {} if value is None else value


def _fingerprint(value: Any) -> str | None:
    return value if isinstance(value, str) and _FINGERPRINT.fullmatch(value) else None


Labels = Annotated[
    dict[Str, Annotated[Str, BeforeValidator(_as_text)]],
    Field(max_length=MOST_LABELS),
    BeforeValidator(_or_empty),
]


class Alert(BaseModel):
    """One alert of a webhook."""

    model_config = ConfigDict(frozen=True)

    status: Status
    labels: Labels
    annotations: Labels = Field(default_factory=dict)
    startsAt: AnyMoment  # noqa: N815 - Alertmanager's spelling
    endsAt: AnyMoment | None = Field(  # noqa: N815 - the same
        None, description="end of the alert; 0001-01-01T00:00:00Z while it fires"
    )
    generatorURL: Annotated[Str, BeforeValidator(_as_text)] = ""  # noqa: N815 - the same
    fingerprint: Annotated[Fingerprint | None, BeforeValidator(_fingerprint)] = Field(
        None, description="hash of the labels; computed from them if it is missing"
    )


class Webhook(BaseModel):
    """The payload of one notification: alerts of one group, for one receiver."""

    model_config = ConfigDict(frozen=True)

    version: Literal["4"]
    groupKey: Str  # noqa: N815 - Alertmanager's spelling
    truncatedAlerts: int = Field(  # noqa: N815 - the same
        0, strict=True, ge=0, le=LARGEST_INT, description="alerts left out because of max_alerts"
    )
    status: Status = Field(
        description="resolved if all alerts of the payload are; others of the group may still fire"
    )
    receiver: Str = Field(
        description="name of the receiver, escaped by regexp.QuoteMeta of Go: a.b becomes a\\.b"
    )
    externalURL: ExternalUrl  # noqa: N815 - the same
    groupLabels: Labels  # noqa: N815 - the same
    commonLabels: Labels  # noqa: N815 - the same
    commonAnnotations: Labels  # noqa: N815 - the same
    notification_reason: Str = Field("", description="sent by Alertmanager 0.32 and later")
    alerts: list[Alert] = Field(max_length=MOST_ALERTS)
    _unreadable: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="wrap")
    @classmethod
    def _one_by_one(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, Mapping) or not isinstance(data.get("alerts"), list):
            return handler(data)
        readable, unreadable = [], []
        for number, listed in enumerate(data["alerts"]):
            try:
                readable.append(Alert.model_validate(listed))
            except ValidationError as error:
                unreadable.append(_fault(number, error))
        made = handler({**data, "alerts": readable})
        made._unreadable = tuple(unreadable)  # noqa: SLF001 - of this class
        return made

    @property
    def unreadable(self) -> tuple[str, ...]:
        """What is wrong with each alert that was left out, such as ``alerts[1].startsAt: ...``."""
        return self._unreadable


def _fault(number: int, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    path = "".join(f".{part}" for part in first["loc"][:1])
    return f"alerts[{number}]{path}: {field_errors.message(first)}"


class AlertSent(BaseModel):
    """The answer of alert-relay to a webhook that is on disk."""

    status: str = "alert_sent"
    timestamp: str


class ApiAlertStatus(BaseModel):
    """Whether an alert is silenced or inhibited (``suppressed``)."""

    state: str = Field(description="active, suppressed or unprocessed")
    mutedBy: list[Str] | None = Field(  # noqa: N815 - Alertmanager's spelling
        None, description="time intervals that mute it; null: Alertmanager before 0.28 does not say"
    )


class ApiAlert(BaseModel):
    """An unresolved alert in an answer of the API; it may be silenced or inhibited."""

    model_config = ConfigDict(frozen=True)

    labels: Labels
    annotations: Labels
    startsAt: AnyMoment  # noqa: N815 - Alertmanager's spelling
    generatorURL: Str = ""  # noqa: N815 - the same
    fingerprint: Fingerprint
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


class ApiConfiguration(BaseModel):
    """Alertmanager's configuration."""

    original: Annotated[str, AfterValidator(_storable)] = Field("", description="YAML without secrets")


class ApiStatus(BaseModel):
    """The answer of ``GET /api/v2/status``."""

    config: ApiConfiguration = ApiConfiguration()

    uptime: AnyMoment = Field(description="when Alertmanager started")
