"""Calls of alert-relay: report alerts, read and handle incidents."""

from dataclasses import replace
from datetime import datetime
from typing import Literal

from services.client import call
from services.client.call import Call, Service
from services.contracts.alertmanager import AlertSent, Webhook
from services.contracts.digest import Digest
from services.contracts.incidents import (
    Incident,
    IncidentCommand,
    IncidentDetail,
    IncidentNote,
    IncidentPage,
)


def send_alerts(webhook: Webhook) -> Call[AlertSent]:
    """Reports alerts as Alertmanager does. A repetition changes nothing."""
    posted = call.post(AlertSent, "/webhook/alert", webhook)
    return replace(posted, service=Service.ALERT_RELAY, repeatable=True)


def incidents(
    *,
    state: Literal["firing", "acknowledged", "resolved"] | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Call[IncidentPage]:
    """Lists alert-relay's incidents, newest first."""
    query: call.Query = {"state": state, "cursor": cursor, "limit": limit}
    return call.get(IncidentPage, "/api/v1/incidents", query, service=Service.ALERT_RELAY)


def incident(incident_id: str) -> Call[IncidentDetail]:
    """Reads an incident with its alerts and its timeline."""
    target = call.path("/api/v1/incidents/{}", incident_id)
    return call.get(IncidentDetail, target, service=Service.ALERT_RELAY)


def incident_timeline(incident_id: str) -> Call[str]:
    """Reads an incident's timeline as Markdown: the skeleton of a post-mortem."""
    target = call.path("/api/v1/incidents/{}/timeline.md", incident_id)
    return Call(method="GET", target=target, read=bytes.decode, repeatable=True, service=Service.ALERT_RELAY)


def digest(*, begin: datetime | None = None, until: datetime | None = None) -> Call[Digest]:
    """Reads what was measured of a period, by default of the last week, against the one before."""
    query: call.Query = {"from": begin, "until": until}
    return call.get(Digest, "/api/v1/digest", query, service=Service.ALERT_RELAY)


def acknowledge_incident(incident_id: str, version: int, by: str = "") -> Call[Incident]:
    """Says that a person handles an incident. A repetition changes nothing.

    Args:
        incident_id: of the incident.
        version: of the incident that the person saw.
        by: name of the person.

    Raises:
        ConflictError: the incident has changed since, is resolved, or another person has acknowledged it.
    """
    return _command(incident_id, "ack", IncidentCommand(version=version, by=by))


def unacknowledge_incident(incident_id: str, version: int, by: str = "") -> Call[Incident]:
    """Takes an acknowledgement back; arguments and errors as of :func:`acknowledge_incident`."""
    return _command(incident_id, "unack", IncidentCommand(version=version, by=by))


def resolve_incident(incident_id: str, version: int, by: str = "") -> Call[Incident]:
    """Ends an incident, whatever Alertmanager reports.

    Arguments and errors as of :func:`acknowledge_incident`.
    """
    return _command(incident_id, "resolve", IncidentCommand(version=version, by=by))


def escalate_incident(incident_id: str, version: int, by: str = "") -> Call[Incident]:
    """Notifies the targets of the next level of escalation now.

    Args:
        incident_id: of the incident.
        version: of the incident that the person saw.
        by: name of the person.

    Raises:
        ConflictError: there is no further level, the incident has changed since, or it is resolved.
    """
    return _command(incident_id, "escalate", IncidentCommand(version=version, by=by))


def note_incident(incident_id: str, version: int, text: str, by: str = "") -> Call[Incident]:
    """Adds a note to an incident's timeline. A repetition changes nothing.

    Args:
        incident_id: of the incident.
        version: of the incident that the person saw.
        text: of the note, 1 to 4,000 characters.
        by: name of the person.

    Raises:
        ConflictError: the incident has changed since.
    """
    return _command(incident_id, "note", IncidentNote(version=version, by=by, text=text))


def _command(incident_id: str, name: str, sent: IncidentCommand) -> Call[Incident]:
    target = call.path("/api/v1/incidents/{}/" + name, incident_id)
    return replace(call.post(Incident, target, sent), service=Service.ALERT_RELAY, repeatable=True)
