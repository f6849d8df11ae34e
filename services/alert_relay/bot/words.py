"""The bot's words: toasts of taps, and answers to commands. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.alert_relay.incidents.incident import (
    Acknowledge,
    Command,
    Incident,
    Refusal,
    Unacknowledge,
)
from services.alert_relay.notifications import render
from services.outbox.messages import Text
from services.outbox.telegram.text import Builder

#: Incidents that an answer lists at most.
MOST_LISTED = 20
UNKNOWN_BUTTON = "This button is not known here any more."
NOT_ALLOWED = "You may not handle incidents here: see ALERT_USER_IDS and ALERT_CHAT_IDS of alert-relay."


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """An incident as a list shows it; times are seconds since the epoch."""

    name: str
    severity: str
    cluster: str
    firing: int
    opened_at: float
    acknowledged_by: str


def toast(wanted: Command, after: Incident, refusal: Refusal | None) -> str:
    """Returns what a person sees after a tap.

    Args:
        wanted: what the button stands for.
        after: the incident.
        refusal: why nothing was done; None: it was done, now or before.
    """
    if refusal is Refusal.RESOLVED:
        return "The incident is resolved already."
    if refusal is Refusal.ACKNOWLEDGED:
        return f"{render.one_line(str(after.acknowledged_by))} handles the incident already."
    if refusal is Refusal.MOVED_ON:
        return "The incident has changed meanwhile. Look at its message, and tap again."
    if isinstance(wanted, Acknowledge):
        return "You handle the incident now."
    return "Nobody handles the incident now." if isinstance(wanted, Unacknowledge) else "Resolved."


def incident_list(incidents: Sequence[OpenIncident], total: int, now: float) -> Text:
    """Returns the answer to ``/incidents``.

    Args:
        incidents: some of the open ones, newest first.
        total: the number of all open ones.
        now: seconds since the epoch.
    """
    if not incidents:
        return Text("No incident is open.")
    out = Builder().bold(f"{total} open {'incident' if total == 1 else 'incidents'}")
    for each in incidents[:MOST_LISTED]:
        out.text("\n🔥 ").bold(render.named(each.name, each.severity))
        firing = f"{each.firing} {'alert' if each.firing == 1 else 'alerts'}"
        out.text(f" · {firing} · for {render.span(now - each.opened_at)} · {render.one_line(each.cluster)}")
        if each.acknowledged_by:
            out.text(f" · 👤 {render.one_line(each.acknowledged_by)}")
    if total > min(len(incidents), MOST_LISTED):
        out.text(f"\nand {total - min(len(incidents), MOST_LISTED)} more")
    return out.build()


def introduction(chat_id: int, *, known: bool) -> Text:
    """Returns the answer to ``/start`` and ``/help``.

    Args:
        chat_id: of the chat.
        known: whether the chat gets alerts.
    """
    out = Builder().text("This bot sends the alerts of Alertmanager. People handle incidents here.\n")
    if known:
        out.text("/incidents lists the open incidents. Tap Acknowledge below an alert to handle it.")
    else:
        out.text("This chat gets no alerts. Its id is ").code(str(chat_id))
        out.text("; the operator can add it to ALERT_CHAT_IDS of alert-relay.")
    return out.build()
