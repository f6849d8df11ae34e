"""Calls of alert-relay: report alerts, read incidents."""

from dataclasses import replace
from typing import Literal

from services.client import call
from services.client.call import Call, Service
from services.contracts.alertmanager import AlertSent, Webhook
from services.contracts.incidents import IncidentDetail, IncidentPage


def send_alerts(webhook: Webhook) -> Call[AlertSent]:
    """Reports alerts as Alertmanager does. A repetition changes nothing."""
    posted = call.post(AlertSent, "/webhook/alert", webhook)
    return replace(posted, service=Service.ALERT_RELAY, repeatable=True)


def incidents(
    *, state: Literal["firing", "resolved"] | None = None, cursor: str | None = None, limit: int = 50
) -> Call[IncidentPage]:
    """Lists alert-relay's incidents, newest first."""
    query: call.Query = {"state": state, "cursor": cursor, "limit": limit}
    return call.get(IncidentPage, "/api/v1/incidents", query, service=Service.ALERT_RELAY)


def incident(incident_id: str) -> Call[IncidentDetail]:
    """Reads an incident with its alerts and its timeline."""
    target = call.path("/api/v1/incidents/{}", incident_id)
    return call.get(IncidentDetail, target, service=Service.ALERT_RELAY)
