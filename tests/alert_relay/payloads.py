"""Webhook payloads: recorded from a real Alertmanager 0.25.0 (``recorded/``), and generated ones."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.alert_relay.alertmanager import parse
from services.alert_relay.incidents.episodes import Alert, AlertGroup
from services.contracts.alertmanager import Webhook
from services.kit.clock import rfc3339

CLUSTER = "http://alertmanager:9093"
#: 2026-01-01T00:00:00Z
START = 1_767_225_600.0
RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> dict[str, Any]:
    return dict(json.loads((RECORDED / f"{name}.json").read_text()))


def alert_group(payload: Mapping[str, Any], now: float = START) -> AlertGroup:
    webhook = Webhook.model_validate(payload)
    return parse.alert_group(webhook, webhook.externalURL, now)


def fingerprint(name: str, instance: str) -> str:
    return hashlib.sha256(f"{name} {instance}".encode()).hexdigest()[:16]


def alert(
    instance: str = "a",
    *,
    name: str = "HighErrorRate",
    severity: str = "critical",
    starts_at: float = START,
    ends_at: float | None = None,
) -> dict[str, Any]:
    """Returns an alert of a webhook; with an end it is resolved."""
    return {
        "status": "firing" if ends_at is None else "resolved",
        "labels": {"alertname": name, "instance": instance, "severity": severity, "service": "bridge"},
        "annotations": {"summary": f"{name} on {instance}", "runbook_url": "https://runbooks.example/errors"},
        "startsAt": rfc3339(starts_at),
        "endsAt": "0001-01-01T00:00:00Z" if ends_at is None else rfc3339(ends_at),
        "generatorURL": "http://prometheus.example:9090/graph",
        "fingerprint": fingerprint(name, instance),
    }


def webhook(*alerts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Returns a webhook of these alerts, grouped by name and severity of the first one."""
    labels = alerts[0]["labels"] if alerts else {}
    group = {name: labels[name] for name in ("alertname", "severity") if name in labels}
    return {
        "version": "4",
        "groupKey": f"{{}}:{json.dumps(group)}",
        "truncatedAlerts": 0,
        "status": "firing" if any(each["status"] == "firing" for each in alerts) else "resolved",
        "receiver": "alert-relay",
        "groupLabels": group,
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": CLUSTER,
        "alerts": list(alerts),
    } | changes


def watchdog() -> dict[str, Any]:
    return webhook(alert("prometheus", name="Watchdog", severity="none"))


def domain_alert(
    *, firing: bool = True, starts_at: float = START, ends_at: float | None = None, instance: str = "a"
) -> Alert:
    """Returns an alert as a domain value."""
    labels = {"alertname": "HighErrorRate", "severity": "critical", "instance": instance}
    return Alert(fingerprint("HighErrorRate", instance), firing, labels, {}, starts_at, ends_at)
