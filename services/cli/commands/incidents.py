"""``cct incidents``: list, show and handle the incidents of alert-relay."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from services.cli import accounts, times
from services.cli.command import command, group
from services.cli.session import Session, UsageError
from services.contracts.incidents import Actor, Incident, IncidentDetail, TimelineEntry

incidents = group("incidents", "List, show and handle incidents: acknowledge, resolve, write notes.")
IncidentId = Annotated[str, typer.Argument(metavar="ID", help="Id of the incident.")]
By = Annotated[str | None, typer.Option(help="Your name, for the timeline. [that of your account]")]
Version = Annotated[
    int | None,
    typer.Option(help="Version that you saw: if it has changed since, nothing is done. [any]"),
]
#: The newest incident, in examples.
_NEWEST = '"$(cct incidents list | head -1 | cut -f1)"'
State = Literal["firing", "acknowledged", "resolved"]


@command(incidents, "list", "cct incidents list --state firing")
def list_(
    session: Session,
    *,
    state: Annotated[State | None, typer.Option(help="Only incidents in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Incidents to list.")] = 50,
) -> None:
    """List incidents, newest first."""
    found = session.client.incidents(state=state, limit=limit).incidents
    if session.output.json:
        session.output.records(found)
        return
    now = session.now
    session.output.table(
        ("id", "state", "alert", "severity", "firing", "opened", "acknowledged by"),
        [
            (
                each.id,
                each.state,
                each.alertname,
                each.severity,
                f"{each.firing}/{each.episodes}",
                times.local(each.opened_at, now),
                _name(each.acknowledged_by),
            )
            for each in found
        ],
    )


@command(incidents, "show", f"cct incidents show {_NEWEST}")
def show(session: Session, incident_id: IncidentId) -> None:
    """Show an incident with its alerts and its timeline."""
    found = session.client.incident(incident_id)
    if session.output.json:
        session.output.record(found)
        return
    _print(session, found)


@command(incidents, "timeline", f"cct incidents timeline {_NEWEST} > post-mortem.md")
def timeline(session: Session, incident_id: IncidentId) -> None:
    """Print the timeline as Markdown: the skeleton of a post-mortem."""
    text = session.client.incident_timeline(incident_id)
    if session.output.json:
        session.output.record({"markdown": text})
    else:
        session.output.line(text.rstrip("\n"))


@command(incidents, "digest", "cct incidents digest --since 7d")
def digest(
    session: Session,
    *,
    since: Annotated[str, typer.Option(help="Where the period begins, such as 7d or 2026-01-31.")] = "7d",
) -> None:
    """Print what was measured of a period until now, against the one before."""
    try:
        begin = times.moment(since, session.now)
    except ValueError as error:
        raise UsageError(f"--since: {error}") from None
    found = session.client.digest(begin=begin, until=session.now)
    if session.output.json:
        session.output.record(found)
    else:
        session.output.line(found.text)


@command(incidents, "ack", f"cct incidents ack {_NEWEST}")
def ack(session: Session, incident_id: IncidentId, *, by: By = None, version: Version = None) -> None:
    """Say that you handle an incident: repetitions of its alerts cause no notification."""
    _handle(session, session.client.acknowledge_incident, incident_id, by, version)


@command(incidents, "unack", f"cct incidents unack {_NEWEST}")
def unack(session: Session, incident_id: IncidentId, *, by: By = None, version: Version = None) -> None:
    """Take an acknowledgement back."""
    _handle(session, session.client.unacknowledge_incident, incident_id, by, version)


@command(incidents, "note", f'cct incidents note {_NEWEST} "The disk is full"')
def note(
    session: Session,
    incident_id: IncidentId,
    text: Annotated[str, typer.Argument(help="The note.")],
    *,
    by: By = None,
    version: Version = None,
) -> None:
    """Add a note to the timeline of an incident."""
    seen = version or session.client.incident(incident_id).version
    _state(session, session.client.note_incident(incident_id, seen, text, by=by or accounts.name()))


@command(incidents, "resolve", f"cct incidents resolve {_NEWEST}")
def resolve(session: Session, incident_id: IncidentId, *, by: By = None, version: Version = None) -> None:
    """End an incident and its alerts, whatever Alertmanager reports."""
    _handle(session, session.client.resolve_incident, incident_id, by, version)


@command(incidents, "escalate", f"cct incidents escalate {_NEWEST}")
def escalate(session: Session, incident_id: IncidentId, *, by: By = None, version: Version = None) -> None:
    """Notify the next level of escalation now."""
    _handle(session, session.client.escalate_incident, incident_id, by, version)


def _handle(
    session: Session, call: Callable[..., Incident], incident_id: str, by: str | None, version: int | None
) -> None:
    seen = version or session.client.incident(incident_id).version
    _state(session, call(incident_id, seen, by=by or accounts.name()))


def _state(session: Session, after: Incident) -> None:
    if session.output.json:
        session.output.record(after)
    else:
        session.output.table(("id", "state"), [(after.id, after.state)])


def _print(session: Session, found: IncidentDetail) -> None:
    now = session.now
    head: dict[str, Any] = {
        "incident": found.id,
        "alert": f"{found.alertname} ({found.severity})" if found.severity else found.alertname,
        "state": found.state,
        "version": found.version,
        "cluster": found.alertmanager,
        "opened": times.local(found.opened_at, now),
        "escalated": f"level {found.level}, round {found.round}"
        if (found.level, found.round) != (1, 1)
        else "",
        "next level": times.local(found.escalates_at, now),
        "acknowledged by": _name(found.acknowledged_by),
        "resolved": times.local(found.resolved_at, now),
        "resolved by": _name(found.resolved_by),
        "reopened": found.reopened or "",
    }
    session.output.table(("", ""), [(name, value) for name, value in head.items() if value != ""])
    session.output.line("")
    session.output.table(
        ("alert", "state", "since", "until"),
        [
            (
                " ".join(f"{name}={value}" for name, value in each.labels.items() if name != "alertname"),
                each.state,
                times.local(each.starts_at, now),
                times.local(each.ends_at, now),
            )
            for each in found.alerts
        ],
    )
    session.output.line("")
    session.output.table(
        ("at", "what", "who", "detail"),
        [(times.local(each.at, now), each.kind, _name(each.actor), _detail(each)) for each in found.timeline],
    )


def _name(actor: Actor | None) -> str:
    if actor is None:
        return ""
    return actor.name or actor.kind.replace("_", "-")


def _detail(entry: TimelineEntry) -> str:
    """The text of a note, and of a notification what became of its messages."""
    if entry.kind == "note":
        return str(entry.detail.get("text", ""))
    if entry.kind == "escalated":
        level = f"level {entry.detail['level']} " if "level" in entry.detail else ""
        return f"{level}({entry.detail.get('cause', '')}): {', '.join(entry.detail.get('targets', []))}"
    return ", ".join(f"chat {each.chat_id}: {each.state}" for each in entry.messages)
