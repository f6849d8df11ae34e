"""Calls of alert-relay: maintenance windows."""

from dataclasses import replace
from typing import Literal

from services.client import call
from services.client.call import Call, Service
from services.contracts.maintenance import MaintenanceWindow, MaintenanceWindowList, NewMaintenanceWindow

_PATH = "/api/v1/maintenance-windows"


def maintenance_windows(
    *, state: Literal["open", "ended"] = "open", limit: int = 200
) -> Call[MaintenanceWindowList]:
    """Lists the windows that are active or planned, or those that are over."""
    query: call.Query = {"state": state, "limit": limit}
    return call.get(MaintenanceWindowList, _PATH, query, service=Service.ALERT_RELAY)


def maintenance_window(window_id: str) -> Call[MaintenanceWindow]:
    """Reads a window."""
    return call.get(MaintenanceWindow, call.path(_PATH + "/{}", window_id), service=Service.ALERT_RELAY)


def start_maintenance(
    new: NewMaintenanceWindow, *, idempotency_key: str | None = None
) -> Call[MaintenanceWindow]:
    """Begins or plans a window: people are not notified of the alerts that it matches.

    Args:
        new: the window.
        idempotency_key: a repetition with the same key returns the same window; default: a new one.
    """
    posted = call.post(MaintenanceWindow, _PATH, new, key=idempotency_key or call.new_key())
    return replace(posted, service=Service.ALERT_RELAY)


def end_maintenance(window_id: str) -> Call[MaintenanceWindow]:
    """Ends what is active of a window. A repetition changes nothing."""
    posted = call.post(MaintenanceWindow, call.path(_PATH + "/{}/end", window_id), {})
    return replace(posted, service=Service.ALERT_RELAY, repeatable=True)


def delete_maintenance(window_id: str) -> Call[MaintenanceWindow]:
    """Ends a window for good, also a recurring one. A repetition changes nothing."""
    return replace(
        call.get(MaintenanceWindow, call.path(_PATH + "/{}", window_id), service=Service.ALERT_RELAY),
        method="DELETE",
    )
