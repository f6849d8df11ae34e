"""Grafana's alerting webhook (grafana.com, "Configure the webhook notifier"). Pure."""

from typing import Annotated, Any

from pydantic import Field

from services.bridge.ways_in.hooks.payload import Items, Labels, Payload, Words, event


class _Alert(Payload):
    status: Words = ""
    labels: Labels = Field(default_factory=dict)
    annotations: Labels = Field(default_factory=dict)


class _Hook(Payload):
    status: Words = ""
    state: Words = ""
    title: Words = ""
    message: Words = ""
    externalURL: Words = ""  # noqa: N815 - Grafana's name
    commonLabels: Labels = Field(default_factory=dict)  # noqa: N815 - the same
    alerts: Annotated[list[_Alert], Items] = Field(default_factory=list)


SEVERITIES = {
    "critical": "critical",
    "fatal": "critical",
    "page": "critical",
    "error": "high",
    "high": "high",
    "warning": "medium",
    "medium": "medium",
    "info": "low",
    "low": "low",
}
_MOST_ALERTS = 10


def read(body: bytes, kind: str) -> dict[str, Any]:  # noqa: ARG001 - Grafana has one kind
    """The event of a webhook: an alert that fires, or one that has ended."""
    hook = _Hook.model_validate_json(body)
    resolved = hook.status == "resolved"
    given = SEVERITIES.get(hook.commonLabels.get("severity", "").lower(), "high")
    lines = [_line(alert) for alert in hook.alerts[:_MOST_ALERTS]] if not hook.message else []
    title = hook.title or f"Grafana: {hook.status or hook.state or 'alert'}"
    return event(
        "status_change" if resolved else "alert_notification",
        title,
        hook.message,
        *lines,
        url=hook.externalURL,
        severity="low" if resolved else given,
    )


def _line(alert: _Alert) -> str:
    name = alert.labels.get("alertname", "")
    text = alert.annotations.get("summary") or alert.annotations.get("description") or ""
    return ": ".join(part for part in (alert.status, name, text) if part)
