"""The SQL of maintenance windows. The functions run inside a transaction that the caller opens."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update

from services.alert_relay.incidents import matchers, timeline
from services.alert_relay.incidents.chunks import chunks
from services.alert_relay.incidents.episodes import OPENING, EpisodeChange, Observation
from services.alert_relay.incidents.incident import Actor, ActorKind
from services.alert_relay.incidents.timers import CLOCK_TOLERANCE_SECONDS
from services.alert_relay.maintenance import window
from services.alert_relay.maintenance.window import MaintenanceWindow
from services.alert_relay.schema import episode, maintenance_window, notification
from services.contracts.stored import json_of, number_of

#: Windows that are not over: each is compared with each alert.
MOST_WINDOWS = 200


@dataclass(frozen=True, slots=True)
class Created:
    """A window that a request made: now, or when it was sent before.

    Args:
        window: as it is now.
        same: whether an earlier request with the same key was for the same window.
    """

    window: MaintenanceWindow
    same: bool = True


def create(connection: Connection, wanted: MaintenanceWindow, key: str | None) -> Created | None:
    """Stores a window, unless a request with the same key has; None: there are too many.

    Args:
        connection: in a transaction.
        wanted: the window.
        key: Idempotency-Key of the request; None: it has none.
    """
    row = _row(wanted)
    digest = _digest(row)
    if key is not None:
        found = connection.execute(
            select(maintenance_window).where(maintenance_window.c.request_key == key)
        ).first()
        if found is not None:
            return Created(_window(found), same=found.digest == digest)
    still = select(func.count()).where(maintenance_window.c.ended_at.is_(None))
    if connection.execute(still).scalar_one() >= MOST_WINDOWS:
        return None
    connection.execute(insert(maintenance_window).values(**row, request_key=key, digest=digest))
    return Created(wanted)


def _digest(row: Mapping[str, Any]) -> str:
    """The digest of a request for a window; one that begins at once begins later in a repetition."""
    at_once = row["starts_at"] == row["created_at"]
    times = {"length": round(row["ends_at"] - row["starts_at"], 3)} if at_once else {"from": row["starts_at"]}
    asked = {
        name: row[name] for name in ("name", "matchers", "cluster", "rule", "zone", "spares_urgent", "reason")
    }
    return hashlib.sha256(json.dumps(asked | times, sort_keys=True).encode()).hexdigest()


def open_windows(connection: Connection) -> list[MaintenanceWindow]:
    """Returns the windows that are not over, those that begin first in front."""
    return _windows(connection, maintenance_window.c.ended_at.is_(None))


def due(connection: Connection, now: float) -> list[MaintenanceWindow]:
    """Returns the windows whose occurrence is over."""
    return _windows(
        connection, maintenance_window.c.ended_at.is_(None) & (maintenance_window.c.ends_at <= now)
    )


def ended(connection: Connection, limit: int) -> list[MaintenanceWindow]:
    """Returns windows that are over, the last first."""
    query = select(maintenance_window).where(maintenance_window.c.ended_at.is_not(None))
    rows = connection.execute(query.order_by(maintenance_window.c.ended_at.desc()).limit(limit))
    return [_window(row) for row in rows]


def one(connection: Connection, window_id: str) -> MaintenanceWindow | None:
    row = connection.execute(select(maintenance_window).where(maintenance_window.c.id == window_id)).first()
    return None if row is None else _window(row)


def _windows(connection: Connection, condition: ColumnElement[bool]) -> list[MaintenanceWindow]:
    query = select(maintenance_window).where(condition)
    order = (maintenance_window.c.starts_at, maintenance_window.c.id)
    return [_window(row) for row in connection.execute(query.order_by(*order))]


def move_on(connection: Connection, before: MaintenanceWindow, after: MaintenanceWindow) -> bool:
    """Writes the times of a window; false if another replica or person was first."""
    same = (maintenance_window.c.id == before.id) & maintenance_window.c.ended_at.is_(None)
    times = {"starts_at": after.starts_at, "ends_at": after.ends_at, "ended_at": after.ended_at}
    moved = connection.execute(
        update(maintenance_window).where(same, maintenance_window.c.ends_at == before.ends_at).values(times)
    )
    return moved.rowcount == 1


def follow_clock(connection: Connection, now: float) -> None:
    """Moves windows that were begun in the future: the clock was put back, and they would last too long.

    A window that was planned for a time of the day keeps it.
    """
    begun_at_once = (maintenance_window.c.starts_at == maintenance_window.c.created_at) & (
        maintenance_window.c.rule == ""
    )
    ahead = maintenance_window.c.created_at > now + CLOCK_TOLERANCE_SECONDS
    open_ = maintenance_window.c.ended_at.is_(None)
    times = {
        "starts_at": now,
        "created_at": now,
        "ends_at": now + (maintenance_window.c.ends_at - maintenance_window.c.starts_at),
    }
    connection.execute(update(maintenance_window).where(begun_at_once, ahead, open_).values(times))


def is_ahead(connection: Connection, now: float) -> bool:
    """Whether a window was made in the future: the clock was put back."""
    open_ = maintenance_window.c.ended_at.is_(None)
    ahead = maintenance_window.c.created_at > now + CLOCK_TOLERANCE_SECONDS
    return (
        connection.execute(select(maintenance_window.c.id).where(open_, ahead).limit(1)).first() is not None
    )


@dataclass(frozen=True, slots=True)
class Held:
    """Which observations people are notified of.

    Args:
        notify: those that no window matches.
        windows: by the alert's fingerprint, the window that holds a notification back which people would
            have got now.
    """

    notify: list[Observation]
    windows: Mapping[str, MaintenanceWindow]


def hold_back(connection: Connection, cluster: str, notify: Sequence[Observation], now: float) -> Held:
    """Takes out the alerts that an active window matches; ends of incidents that people know stay in.

    Args:
        connection: in a transaction.
        cluster: of the alerts.
        notify: what people would be notified of.
        now: seconds since the epoch.
    """
    active = [each for each in open_windows(connection) if each.is_active(now)] if notify else []
    if not active:
        return Held(list(notify), {})
    kept, held = [], {}
    shown = _shown(connection, [each.before.incident_id for each in notify if each.before])
    for each in notify:
        found = window.covering(active, cluster, each.alert.labels, now)
        before = each.before
        if found is None or (
            each.change is EpisodeChange.RESOLVED and before is not None and before.incident_id in shown
        ):
            kept.append(each)
        elif each.change in OPENING or (before is not None and before.notified_at is not None):
            held[each.alert.fingerprint] = found
    return Held(kept, held)


def _shown(connection: Connection, incident_ids: Sequence[str]) -> set[str]:
    """Returns those of the incidents that people have been notified of."""
    shown: set[str] = set()
    for chunk in chunks(list(dict.fromkeys(incident_ids))):
        query = select(notification.c.incident_id).where(notification.c.incident_id.in_(chunk)).distinct()
        shown.update(connection.execute(query).scalars())
    return shown


def suppressing(
    connection: Connection, incident_ids: Sequence[str], now: float
) -> dict[str, list[MaintenanceWindow]]:
    """Returns the windows that hold the notifications of incidents back, by the incident's id.

    An incident is suppressed while each of its firing alerts is matched by an active window.
    """
    active = [each for each in open_windows(connection) if each.is_active(now)] if incident_ids else []
    if not active:
        return {}
    found: dict[str, list[MaintenanceWindow | None]] = {}
    for chunk in chunks(incident_ids):
        firing = episode.c.incident_id.in_(chunk) & episode.c.closed_at.is_(None)
        columns = (episode.c.incident_id, episode.c.cluster, episode.c.labels)
        for row in connection.execute(select(*columns).where(firing)):
            covered = window.covering(active, row.cluster, labels_of(row.labels), now)
            found.setdefault(row.incident_id, []).append(covered)
    return {
        incident_id: list({each.id: each for each in windows if each is not None}.values())
        for incident_id, windows in found.items()
        if all(windows)
    }


def delete_old(connection: Connection, before: float, limit: int) -> int:
    """Deletes windows that were over before that time; returns their number."""
    old = select(maintenance_window.c.id).where(maintenance_window.c.ended_at < before).limit(limit)
    return connection.execute(delete(maintenance_window).where(maintenance_window.c.id.in_(old))).rowcount


def labels_of(text: str) -> dict[str, str]:
    """Labels of a column; none where it holds none."""
    found = json_of(text)
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _row(each: MaintenanceWindow) -> dict[str, Any]:
    return {
        "id": each.id,
        "name": each.name,
        "matchers": json.dumps([str(one) for one in each.matchers]),
        "cluster": each.cluster,
        "starts_at": each.starts_at,
        "ends_at": each.ends_at,
        "rule": each.rule,
        "zone": each.zone,
        "first_starts_at": each.first_starts_at,
        "spares_urgent": each.spares_urgent,
        "created_by": timeline.to_json(each.created_by),
        "reason": each.reason,
        "created_at": each.created_at,
        "ended_at": each.ended_at,
    }


def _window(row: Row[Any]) -> MaintenanceWindow:
    """Returns the window of a row. An odd value holds nothing back: each webhook reads the windows."""
    return MaintenanceWindow(
        id=str(row.id),
        name=str(row.name),
        matchers=_matchers(row.matchers),
        cluster=str(row.cluster),
        starts_at=number_of(row.starts_at),
        ends_at=number_of(row.ends_at),
        created_by=timeline.from_json(row.created_by) or Actor(ActorKind.API),
        reason=str(row.reason),
        created_at=number_of(row.created_at),
        rule=str(row.rule),
        zone=str(row.zone),
        first_starts_at=number_of(row.first_starts_at),
        spares_urgent=bool(row.spares_urgent),
        ended_at=None if row.ended_at is None else number_of(row.ended_at),
    )


#: Matches no alert: what stands in a row that cannot be read holds nothing back.
_NEVER = (matchers.Matcher("alertname", "", regex=False), matchers.Matcher("alertname", "", negated=True))


def _matchers(text: str) -> tuple[matchers.Matcher, ...]:
    found = json_of(text)
    try:
        return matchers.parse_all([str(each) for each in found] if isinstance(found, list) else [])
    except ValueError:
        return _NEVER
