"""The text of a digest. Pure."""

from datetime import datetime
from zoneinfo import ZoneInfo

from services.alert_relay.digest.figures import Figures
from services.alert_relay.notifications import render
from services.outbox.messages import Text
from services.outbox.telegram.text import Builder

#: Severities that are listed.
MOST_SEVERITIES = 6


def digest(now: Figures, before: Figures, begin: float, until: float, zone: str = "UTC") -> Text:
    """Returns the text.

    Args:
        now: of the period.
        before: of the period of the same length before it.
        begin: of the period, seconds since the epoch.
        until: its end, seconds since the epoch.
        zone: of the times in the text.
    """
    out = Builder().text("📊 ").bold(f"Alerts from {_local(begin, zone)} to {_local(until, zone)} {zone}")
    out.text("\n")
    if not now.incidents and now.longest is None:
        out.text(f"No alert. The week before: {before.incidents}.")
        _delivery(out, now, before)
        return out.build()
    severities = [
        f"{number} {render.one_line(severity) or 'without severity'}"
        for severity, number in list(now.by_severity.items())[:MOST_SEVERITIES]
    ]
    out.bold(f"{now.incidents} {'incident' if now.incidents == 1 else 'incidents'}")
    out.text(f" (the week before: {before.incidents})" + (f": {', '.join(severities)}" if severities else ""))
    _duration(out, "Acknowledged after (mean)", now.acknowledged_after, before.acknowledged_after)
    _duration(out, "Resolved after (mean)", now.resolved_after, before.resolved_after)
    out.text(f"\nNever acknowledged: {now.never_acknowledged} ({before.never_acknowledged})")
    if now.noisiest:
        names = (f"{render.one_line(name)} {number}" for name, number in now.noisiest)
        out.text(f"\nMost notifications: {', '.join(names)}")
    if now.longest is not None:
        name, seconds = now.longest
        out.text(f"\nLongest: {render.one_line(name)}, {render.span(seconds)}")
    _delivery(out, now, before)
    return out.build()


def _delivery(out: Builder, now: Figures, before: Figures) -> None:
    if now.delay_median is not None and now.delay_95 is not None:
        out.text(f"\nDelivered: half within {_short(now.delay_median)}, 95 % within {_short(now.delay_95)}")
        out.text(f" ({_short(before.delay_95)})" if before.delay_95 is not None else "")
    out.text(f"\nDead letters: {now.dead_letters} ({before.dead_letters})")


def _duration(out: Builder, name: str, now: float | None, before: float | None) -> None:
    shown = ["none" if each is None else render.span(each) for each in (now, before)]
    out.text(f"\n{name}: {shown[0]} ({shown[1]})")


def _short(seconds: float) -> str:
    return f"{max(0.0, seconds):.1f} s" if seconds < 60 else render.span(seconds)  # noqa: PLR2004 - a minute


def _local(seconds: float, zone: str) -> str:
    return datetime.fromtimestamp(seconds, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")
