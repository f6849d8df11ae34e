"""``cct maintenance``: begin, plan, list and end maintenance windows of alert-relay."""

from typing import Annotated, Any

import typer

from services.cli import accounts, times
from services.cli.command import command, group
from services.cli.session import Session, UsageError
from services.contracts.maintenance import MaintenanceWindow, NewMaintenanceWindow
from services.contracts.times import seconds_of

maintenance = group("maintenance", "Hold notifications of alerts back while somebody works on a system.")
WindowId = Annotated[str, typer.Argument(metavar="ID", help="Id of the window.")]
#: The first window, in examples.
_FIRST = '"$(cct maintenance list | head -1 | cut -f1)"'


@command(maintenance, "start", 'cct maintenance start --for 2h --match service=api --reason "deploy 2.1"')
def start(
    session: Session,
    *,
    match: Annotated[
        list[str],
        typer.Option(help='Label that alerts have, as service=api or instance=~"db-.*"; repeat it.'),
    ],
    lasts: Annotated[str, typer.Option("--for", help="How long it lasts, such as 2h.")],
    at: Annotated[
        str | None, typer.Option(help="When it begins, such as 2026-01-31T22:00 or 2h. [now]")
    ] = None,
    rrule: Annotated[str, typer.Option(help="When it recurs, such as FREQ=WEEKLY;BYDAY=SU. [never]")] = "",
    zone: Annotated[str, typer.Option(help="Time zone of --rrule.")] = "UTC",
    name: Annotated[str, typer.Option(help="For people. [the matchers]")] = "",
    cluster: Annotated[str, typer.Option(help="Only alerts of this Alertmanager cluster. [all]")] = "",
    spare_critical: Annotated[
        bool, typer.Option("--spare-critical", help="Notify of critical alerts.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, for people.")] = "",
    by: Annotated[str | None, typer.Option(help="Your name. [that of your account]")] = None,
) -> None:
    """Begin or plan a window: people are not notified of the alerts that it matches."""
    given: dict[str, Any] = {} if at is None else {"starts_at": _begins(at, session)}
    new = NewMaintenanceWindow(
        matchers=match,
        lasts=seconds_of(lasts),
        rule=rrule,
        zone=zone,
        name=name,
        cluster=cluster,
        spares_urgent=spare_critical,
        reason=reason,
        by=accounts.name() if by is None else by,
        **given,
    )
    _show(session, session.client.start_maintenance(new))


def _begins(text: str, session: Session) -> Any:
    try:
        return times.later(text, session.now)
    except ValueError as error:
        raise UsageError(f"--at: {error}") from None


@command(maintenance, "list", "cct maintenance list")
def list_(
    session: Session,
    *,
    ended: Annotated[bool, typer.Option("--ended", help="Those that are over, the last first.")] = False,
) -> None:
    """List the windows that are active or planned."""
    found = session.client.maintenance_windows(state="ended" if ended else "open").windows
    if session.output.json:
        session.output.records(found)
        return
    now = session.now
    session.output.table(
        ("id", "state", "name", "from", "until", "recurs", "matches", "cluster"),
        [
            (
                each.id,
                each.state,
                each.name,
                times.local(each.starts_at, now),
                times.local(each.ended_at or each.ends_at, now),
                each.rule,
                " ".join(each.matchers),
                each.cluster,
            )
            for each in found
        ],
    )


@command(maintenance, "show", f"cct maintenance show {_FIRST}")
def show(session: Session, window_id: WindowId) -> None:
    """Show a window."""
    _show(session, session.client.maintenance_window(window_id))


@command(maintenance, "end", f"cct maintenance end {_FIRST}")
def end(
    session: Session,
    window_id: WindowId,
    *,
    for_good: Annotated[bool, typer.Option("--for-good", help="Also a window that recurs.")] = False,
) -> None:
    """End a window now: people are notified of what still fires."""
    client = session.client
    _show(session, client.delete_maintenance(window_id) if for_good else client.end_maintenance(window_id))


def _show(session: Session, window: MaintenanceWindow) -> None:
    if session.output.json:
        session.output.record(window)
        return
    now = session.now
    shown = {
        "window": window.id,
        "name": window.name,
        "state": window.state,
        "matches": " ".join(window.matchers),
        "cluster": window.cluster,
        "from": times.local(window.starts_at, now),
        "until": times.local(window.ended_at or window.ends_at, now),
        "recurs": f"{window.rule} ({window.zone})" if window.rule else "",
        "critical alerts": "notified" if window.spares_urgent else "",
        "reason": window.reason,
        "by": window.created_by.name,
    }
    session.output.table(("", ""), [(label, value) for label, value in shown.items() if value])
