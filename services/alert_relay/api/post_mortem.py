"""The timeline of an incident as Markdown: the skeleton of a post-mortem. Pure."""

import re

from services.contracts.incidents import IncidentDetail, TimelineEntry

#: What Markdown would read as markup; a label or a note is shown as it is.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~-])")
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_WHAT = {
    "firing": "fired",
    "repeated": "was repeated by Alertmanager",
    "resolved": "resolved",
    "superseded": "fired anew; no resolution was sent",
    "absent": "was not listed by Alertmanager any more, so it has resolved",
    "truncated": "Alertmanager left alerts out",
    "fetched": "alerts that had been left out were fetched",
    "closed": "**The incident was resolved**",
    "reopened": "**The incident was reopened**",
    "acknowledged": "**Acknowledged**",
    "escalated": "Escalated",
    "unacknowledged": "The acknowledgement was taken back",
    "unattended": "The acknowledgement was too old",
    "joined": "Its Alertmanager was joined to a cluster",
    "note": "Note",
    "notified": "People were notified",
}


def markdown(incident: IncidentDetail) -> str:
    """Returns the Markdown: what happened, the alerts, the timeline, and headings for what people write."""
    severity = f" ({_text(incident.severity)})" if incident.severity else ""
    title = _text(incident.alertname or "Alert") + severity
    lines = [
        f"# {title}",
        "",
        f"- Incident: `{incident.id}`",
        f"- Cluster: {_text(incident.alertmanager)}",
        f"- Opened: {incident.opened_at}",
        f"- Resolved: {incident.resolved_at or 'it is open'}",
    ]
    if incident.acknowledged_by is not None:
        lines.append(f"- Acknowledged by: {_text(incident.acknowledged_by.name)}, {incident.acknowledged_at}")
    if incident.reopened:
        lines.append(f"- Reopened: {incident.reopened} times")
    lines += ["", "## Alerts", "", "| alert | from | to |", "|---|---|---|"]
    for each in incident.alerts:
        labels = " ".join(f"{name}={value}" for name, value in each.labels.items())
        lines.append(f"| {_text(labels)} | {each.starts_at} | {each.ends_at or ''} |")
    lines += ["", "## Timeline", "", "| at (UTC) | what | who |", "|---|---|---|"]
    names = {each.fingerprint: each.labels.get("instance", "") for each in incident.alerts}
    lines += [_row(each, names) for each in incident.timeline]
    for heading in ("Impact", "Root cause", "What went well", "What went badly", "Actions"):
        lines += ["", f"## {heading}", ""]
    return "\n".join(lines).rstrip() + "\n"


def _row(entry: TimelineEntry, names: dict[str, str]) -> str:
    what = _WHAT.get(entry.kind, _text(entry.kind))
    if entry.fingerprint is not None:
        what = f"The alert {_text(names.get(entry.fingerprint, ''))} {what}".replace("  ", " ")
    if entry.kind == "note":
        what += f": {_text(str(entry.detail.get('text', '')))}"
    who = "" if entry.actor is None else entry.actor.name or entry.actor.kind
    return f"| {entry.at} | {what} | {_text(who)} |"


def _text(text: str) -> str:
    return _MARKUP.sub(r"\\\1", _BREAKS.sub(" ", text))
