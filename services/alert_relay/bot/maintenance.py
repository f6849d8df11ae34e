"""Maintenance windows in Telegram: ``/maintenance``, and the button that ends a window."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from uuid_utils import uuid7

from services.alert_relay.incidents.incident import Actor
from services.alert_relay.maintenance import ends, store, window
from services.alert_relay.maintenance.ends import WindowEnd
from services.alert_relay.maintenance.window import MaintenanceWindow, WantedWindow, WindowError
from services.alert_relay.notifications import render
from services.alert_relay.notifications.store import NotificationTarget
from services.contracts.times import seconds_of
from services.outbox.messages import Text
from services.outbox.telegram.text import Builder
from services.updates.alert_acts import MAINTENANCE_PREFIX

#: Windows that an answer lists at most, each with a button.
MOST_LISTED = 10
LONGEST_REASON = 500
_MATCHER = re.compile(r'\s*([a-zA-Z_:][a-zA-Z0-9_:]*(?:=~|!~|!=|=)(?:"(?:[^"\\]|\\.)*"|[^\s"]\S*))(?=\s|$)')
_END = re.compile(rf"{MAINTENANCE_PREFIX}e:([0-9a-f]{{32}})")
_USAGE = "Write /maintenance 2h service=api and why: how long, which labels the alerts have, the reason."


@dataclass(frozen=True, slots=True)
class MaintenanceAnswer:
    """An answer to ``/maintenance``, with its buttons."""

    text: Text
    keyboard: Mapping[str, Any] | None = None


def answer(connection: Connection, argument: str, by: Actor, now: float) -> MaintenanceAnswer:
    """Lists the windows, or begins the one that the argument of the command describes.

    Args:
        connection: in a transaction.
        argument: empty: list; else a duration, matchers, and a reason.
        by: the person.
        now: seconds since the epoch.
    """
    if not argument:
        return _list(store.open_windows(connection), now)
    try:
        wanted = _read(argument)
        made = store.create(connection, window.plan(wanted, str(uuid7()), by, now), None)
    except ValueError as error:
        return MaintenanceAnswer(Text(f"{error}\n\n{_USAGE}"))
    if made is None:
        return MaintenanceAnswer(Text(f"{store.MOST_WINDOWS} windows are active or planned; end some first."))
    out = Builder().text("🔧 Maintenance began. ")
    _describe(out, made.window, now)
    out.text("\nPeople are not notified of these alerts; at the end what still fires is news.")
    return MaintenanceAnswer(out.build(), _keyboard([made.window]))


def _read(argument: str) -> WantedWindow:
    length, _, rest = argument.partition(" ")
    texts = []
    while (found := _MATCHER.match(rest)) is not None:
        texts.append(found[1])
        rest = rest[found.end() :]
    try:
        seconds = seconds_of(length)
    except ValueError as error:
        raise WindowError("time", str(error)) from None
    return WantedWindow(texts, seconds=seconds, reason=rest.strip()[:LONGEST_REASON])


def _list(windows: Sequence[MaintenanceWindow], now: float) -> MaintenanceAnswer:
    if not windows:
        return MaintenanceAnswer(Text(f"No maintenance window is active or planned.\n\n{_USAGE}"))
    active = sum(each.is_active(now) for each in windows)
    out = Builder().bold(f"{active} active, {len(windows) - active} planned")
    for each in windows[:MOST_LISTED]:
        out.text("\n🔧 " if each.is_active(now) else "\n🕒 ")
        _describe(out, each, now)
    if len(windows) > MOST_LISTED:
        out.text(f"\nand {len(windows) - MOST_LISTED} more")
    return MaintenanceAnswer(out.build(), _keyboard([one for one in windows if one.is_active(now)]))


def _describe(out: Builder, each: MaintenanceWindow, now: float) -> None:
    matches = " ".join(map(str, each.matchers))
    out.bold(render.one_line(each.name))
    if each.name != matches:
        out.text(" ").code(render.one_line(matches))
    if each.is_active(now):
        out.text(f" · {render.span(each.ends_at - now)} to go")
    else:
        out.text(f" · from {render.moment(each.starts_at)} for {render.span(each.ends_at - each.starts_at)}")
    if each.cluster:
        out.text(f" · {render.one_line(each.cluster)}")
    if each.reason:
        out.text(f" · {render.one_line(each.reason)}")
    if each.created_by.name:
        out.text(f" · 👤 {render.one_line(each.created_by.name)}")


def _keyboard(windows: Sequence[MaintenanceWindow]) -> Mapping[str, Any] | None:
    shown = windows[:MOST_LISTED]
    rows = [
        [
            {
                "text": "End" if len(shown) == 1 else f"End {render.one_line(each.name)[:40]}",
                "callback_data": f"{MAINTENANCE_PREFIX}e:{UUID(each.id).hex}",
            }
        ]
        for each in shown
    ]
    return {"inline_keyboard": rows} if rows else None


def is_button(data: str) -> bool:
    """Whether a button with this data ends a window."""
    return _END.fullmatch(data) is not None


def end(
    connection: Connection, data: str, target: NotificationTarget, now: float
) -> tuple[str, WindowEnd | None]:
    """Ends the window of a button; returns what the person sees, and what it did.

    Args:
        connection: in a transaction.
        data: of the button.
        target: who gets the notifications.
        now: seconds since the epoch.
    """
    found = _END.fullmatch(data)
    over = store.one(connection, str(UUID(found[1]))) if found else None
    if over is None:
        return "This window is not known here any more.", None
    done = ends.end(connection, over, target, now) if over.is_active(now) else None
    return "The window is over." if done else "The window is over already.", done
