"""The summary at the end of a maintenance window. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.alert_relay.maintenance.window import MaintenanceWindow
from services.alert_relay.notifications import render
from services.outbox.messages import Text
from services.outbox.telegram.text import Builder

#: Incidents that a summary lists at most.
MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class FiringIncident:
    """An incident that still fires at the end of a window; ``alerts``: of it that the window matches."""

    id: str
    name: str
    severity: str
    cluster: str
    alerts: int


def summary(
    over: MaintenanceWindow, after: MaintenanceWindow, incidents: int, firing: Sequence[FiringIncident]
) -> Text:
    """Returns the summary.

    Args:
        over: the window, as it was until now.
        after: the window, as it is now.
        incidents: the number of those with alerts that it matched.
        firing: those of them that still fire.
    """
    out = Builder().text("🔧 Maintenance ").bold(render.one_line(over.name)).text(" is over. ")
    if not incidents:
        out.text("No alert fired.")
    else:
        number = f"{incidents} {'incident' if incidents == 1 else 'incidents'}"
        out.text(f"{number}, {len(firing) or 'none'} still firing" + (":" if firing else "."))
    for each in firing[:MOST_LISTED]:
        out.text("\n🔥 ").bold(render.named(each.name, each.severity))
        alerts = f"{each.alerts} {'alert' if each.alerts == 1 else 'alerts'}"
        out.text(f" · {alerts} · {render.one_line(each.cluster)}")
    if len(firing) > MOST_LISTED:
        out.text(f"\nand {len(firing) - MOST_LISTED} more")
    if after.ended_at is None:
        out.text(f"\nIt begins again at {render.moment(after.starts_at)}.")
    return out.build()
