"""The buttons of an incident's message, and what a tap on one means. Pure.

Telegram allows 64 bytes of data: ``inc:ACTION:ID:VERSION``, with the incident's id in hexadecimal and the
version that the message showed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.alert_relay.incidents.incident import Acknowledge, Command, Resolve, Unacknowledge
from services.alert_relay.notifications.notification import NotifiedIncident
from services.updates.alert_acts import DATA_PREFIX

_ACTIONS: Mapping[str, Command] = {"a": Acknowledge(), "u": Unacknowledge(), "r": Resolve()}
_DATA = re.compile(rf"{DATA_PREFIX}([a-z]):([0-9a-f]{{32}}):([0-9]{{1,9}})")


@dataclass(frozen=True, slots=True)
class Tapped:
    """A button of an incident's message.

    Args:
        incident_id: of the incident.
        command: that the button stands for.
        version: of the incident, as the message showed it.
    """

    incident_id: str
    command: Command
    version: int


def keyboard(incident: NotifiedIncident) -> Mapping[str, Any] | None:
    """Returns the buttons; None: a resolved incident has none."""
    if incident.resolved_at is not None:
        return None
    first = ("Give back", "u") if incident.acknowledged_by else ("Acknowledge", "a")
    row = [
        {"text": text, "callback_data": _data(incident, action)} for text, action in (first, ("Resolve", "r"))
    ]
    return {"inline_keyboard": [row]}


def _data(incident: NotifiedIncident, action: str) -> str:
    return f"{DATA_PREFIX}{action}:{UUID(incident.id).hex}:{incident.version}"


def tapped(data: str) -> Tapped | None:
    """Returns what a button stands for; None: it is no button of an incident's message."""
    found = _DATA.fullmatch(data)
    if found is None or found[1] not in _ACTIONS:
        return None
    return Tapped(str(UUID(found[2])), _ACTIONS[found[1]], int(found[3]))
