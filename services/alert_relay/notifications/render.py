"""Renders a notification as text with entities. Pure.

An incident's message can be edited only if it is one message: long values are shortened, and alerts that have
no room are counted.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from services.alert_relay.notifications import bot_answer, buttons
from services.alert_relay.notifications.composition import MOST_REOPENED
from services.alert_relay.notifications.notification import (
    Notification,
    NotificationKind,
    NotifiedAlert,
    NotifiedIncident,
    NotifiedStorm,
    Purpose,
    Source,
    from_json,
)
from services.outbox.messages import Claimed, Origin, Rendered, Text
from services.outbox.telegram.links import is_link
from services.outbox.telegram.text import ENTITY_LIMIT, MESSAGE_LIMIT, Builder, parts_of

LONGEST_VALUE = 1_000
LONGEST_LABELS = 1_500
LONGEST_SEVERITY = 40
LONGEST_CLUSTER = 100
LONGEST_NAME = 100
#: Characters that turn the direction of what follows, so that a text reads as another one.
_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
#: Line breaks, and control characters that some programs show as such.
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
#: Of the alerts that could not be read, so many have a line.
MOST_UNREADABLE = 5

_UNSENT = "Alertmanager sent no webhook of this; its API shows it."
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_SIGNS = {NotificationKind.FIRING: "🔥", NotificationKind.REPEATED: "🔥", NotificationKind.RESOLVED: "✅"}
#: The title shows these labels already.
_TITLE_LABELS = frozenset({"alertname", "severity"})
_RUNBOOKS = ("runbook_url", "runbook")
_DASHBOARDS = ("dashboard_url", "dashboard")
#: Browsers do not open longer links.
LONGEST_URL = 2_000


def render(claimed: Claimed) -> Rendered:
    """Returns the content that Telegram gets for a claimed message."""
    if claimed.origin is Origin.BOT:
        return bot_answer.rendered(claimed.body)
    notification = from_json(claimed.body)
    about = notification.incident
    own_message = about is not None and notification.purpose in (Purpose.OPENED, Purpose.CHANGED)
    return Rendered(
        parts_of(text_of(notification), "alerts.txt"),
        reply_markup=buttons.keyboard(about) if about is not None and own_message else None,
    )


def answers(claimed: Claimed) -> str | None:
    """Returns the event of the incident's first message, which news answer; None: it answers none."""
    if claimed.origin is Origin.BOT:
        return None
    notification = from_json(claimed.body)
    if notification.purpose is not Purpose.NEWS or notification.incident is None:
        return None
    return notification.incident.first_event or None


def text_of(notification: Notification) -> Text:
    """Returns the text, with as many alerts and details as one message of Telegram has room for."""
    if notification.purpose is Purpose.TEST:
        return Builder().text("🧪 ").bold("Test").text(": this target gets alerts. Nothing is wrong.").build()
    if notification.storm is not None:
        return _storm(notification.storm, _cluster(notification))
    for detailed, listed in _SIZES[:-1]:
        text = _text(notification, detailed, listed)
        if len(text.text) <= MESSAGE_LIMIT and len(text.entities) <= ENTITY_LIMIT:
            return text
    return _text(notification, *_SIZES[-1])


#: The numbers of alerts with details and of alerts at all, each pair shorter than the one before.
_SIZES = ((8, 40), (4, 4), (1, 1), (0, 40), (0, 10), (0, 3))


def _storm(storm: NotifiedStorm, cluster: str) -> Text:
    """The text of a storm, with as many incidents as one message has room for."""
    total = storm.open + storm.resolved
    for listed in (40, 20, 10, 3):
        out = Builder().text("🌩 ").bold(f"Many incidents at once: {storm.open} more open")
        if storm.resolved:
            out.bold(f", {storm.resolved} resolved")
        out.text(cluster)
        for name, severity, sign in storm.incidents[:listed]:
            out.text(f"\n{sign} {named(name, severity)}")
        if total > min(listed, len(storm.incidents)):
            out.text(f"\nand {total - min(listed, len(storm.incidents))} more")
        text = out.text("\n\n/incidents lists the open ones.").build()
        if len(text.text) <= MESSAGE_LIMIT:
            break
    return text


def _text(notification: Notification, most_detailed: int, most_listed: int) -> Text:
    items, news = notification.items, notification.purpose is Purpose.NEWS
    over = (
        news and notification.incident is not None and notification.kinds in ([], [NotificationKind.RESOLVED])
    )
    # The message that it answers has the details.
    detailed = len(items) <= most_detailed and not over
    listed = items[:most_listed]
    out = Builder()
    if over:
        _ended(out, notification)
        listed = listed if len(items) > 1 else ()
    elif len(items) > 1:
        out.bold(_heading(notification)).text(_cluster(notification) + ("\n" if detailed else ""))
    for number, item in enumerate(listed):
        out.text("\n" if number or len(items) > 1 else "")
        out.text("\n" if number and detailed else "")
        if detailed:
            _detailed(out, item, notification)
        else:
            _brief(out, item)
    unlisted = len(items) - len(listed) if listed else 0
    unlisted += 0 if news else notification.still_firing
    out.text(f"\nand {unlisted} more" if unlisted else "")
    _footer(out, notification)
    return out.build()


def _heading(notification: Notification) -> str:
    """Returns the numbers of alerts; of an incident's own message those of the whole incident."""
    counts = {kind: sum(item.kind is kind for item in notification.items) for kind in notification.kinds}
    about = notification.incident
    if about is not None and notification.purpose is not Purpose.NEWS:
        counts = {
            kind: number
            for kind, number in (
                (NotificationKind.FIRING, about.firing),
                (NotificationKind.RESOLVED, counts.get(NotificationKind.RESOLVED, 0)),
            )
            if number
        }
    words = {
        NotificationKind.FIRING: "firing",
        NotificationKind.REPEATED: "still firing",
        NotificationKind.RESOLVED: "resolved",
    }
    numbers = [f"{count} {words[kind]}" for kind, count in counts.items()]
    signs = [_SIGNS[kind] for kind in counts]
    if about is None:
        return ", ".join(f"{sign} {number}" for sign, number in zip(signs, numbers, strict=True))
    return f"{signs[0]} {named(about.name, about.severity)}: {', '.join(numbers)}"


def _ended(out: Builder, notification: Notification) -> None:
    """The end of an incident."""
    incident = notification.incident
    shown = named(incident.name, incident.severity) if incident is not None else ""
    out.text("✅ ").bold(shown).text(" resolved")
    ends = [each.ended_at for each in notification.items if each.ended_at is not None]
    if ends:
        out.text(f" after {span(max(ends) - min(each.since for each in notification.items))}")
    out.text(_cluster(notification))


def _cluster(notification: Notification) -> str:
    """Returns the name of the cluster behind a dot: two clusters may have the same alert."""
    return f" · {_cut(_line(notification.cluster), LONGEST_CLUSTER)}" if notification.cluster else ""


def _detailed(out: Builder, item: NotifiedAlert, notification: Notification) -> None:
    _title(out, item)
    for name in ("summary", "message", "description"):
        if item.annotations.get(name):
            out.text("\n" + _cut(_DIRECTIONS.sub("", item.annotations[name])))
    labels = [
        f"{_line(name)}={_cut(_line(value))}"
        for name, value in item.labels.items()
        if name not in _TITLE_LABELS
    ]
    if labels:
        out.text("\n").code(_cut(" ".join(labels), LONGEST_LABELS))
    # The heading of several alerts has the cluster.
    alone = len(notification.items) == 1
    out.text("\n").italic(_times(item) + (_cluster(notification) if alone else ""))
    _links(out, item, notification.external_url)


def _title(out: Builder, item: NotifiedAlert) -> None:
    out.text(f"{_SIGNS[item.kind]} ").bold(named(item.name, item.severity))
    if item.kind is NotificationKind.RESOLVED:
        out.text(" resolved")
    elif item.kind is NotificationKind.REPEATED:
        out.text(f" still firing since {moment(item.since)}")


def _brief(out: Builder, item: NotifiedAlert) -> None:
    _title(out, item)
    summary = item.annotations.get("summary") or item.annotations.get("message") or ""
    if summary:
        out.text(f": {_cut(_line(summary), 200)}")


def _times(item: NotifiedAlert) -> str:
    if item.ended_at is None:
        return f"since {moment(item.since)}"
    return f"{moment(item.since)} to {moment(item.ended_at)}, {span(item.ended_at - item.since)}"


def _links(out: Builder, item: NotifiedAlert, alertmanager: str) -> None:
    found = (
        ("Runbook", _first(item.annotations, _RUNBOOKS)),
        ("Dashboard", _first(item.annotations, _DASHBOARDS)),
        ("Source", item.generator_url),
        ("Silence", _silence(item, alertmanager)),
    )
    linked = [(text, url) for text, url in found if is_link(url)]
    for number, (text, url) in enumerate(linked):
        out.text(" · " if number else "\n").link(text, url)
    for text, url in found:
        if url and not is_link(url):
            out.text(f"\n{text}: {_cut(url, LONGEST_URL)}")


def _first(annotations: Mapping[str, str], names: Sequence[str]) -> str:
    return next((annotations[name] for name in names if annotations.get(name)), "")


def _silence(item: NotifiedAlert, alertmanager: str) -> str:
    """Returns the link to Alertmanager's form for a silence of this alert; empty for a resolved alert."""
    if (
        item.kind is NotificationKind.RESOLVED
        or not item.labels
        or not alertmanager.startswith(("http://", "https://"))
    ):
        return ""
    matchers = ",".join(f"{name}={_quoted(value)}" for name, value in item.labels.items())
    url = f"{alertmanager.rstrip('/')}/#/silences/new?filter={quote(f'{{{matchers}}}', safe='')}"
    return url if len(url) <= LONGEST_URL else ""


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _footer(out: Builder, notification: Notification) -> None:
    firing, truncated = notification.still_firing, notification.truncated
    if notification.unreadable:
        _unreadable(out, notification)
    if notification.incident is not None:
        _people(out, notification.incident, news=notification.purpose is Purpose.NEWS)
    if firing and notification.purpose is Purpose.NEWS:
        out.text(f"\n\n{firing} more of this group {_be(firing)} firing as before.")
    if truncated:
        out.text(f"\n\n{truncated} more {_be(truncated)} not listed (max_alerts): ")
        out.link("see Alertmanager", notification.external_url)
    if notification.source is Source.LEFT_OUT:
        out.text("\n\nAlertmanager had not listed this (max_alerts).")
    elif notification.source is Source.API:
        out.text(f"\n\n{_UNSENT}")


def _people(out: Builder, incident: NotifiedIncident, *, news: bool) -> None:
    """Who handles the incident, who resolved it, and how often it was reopened."""
    if incident.resolved_at is None and incident.acknowledged_by:
        at = "" if incident.acknowledged_at is None else f", {moment(incident.acknowledged_at)}"
        out.text(f"\n\n👤 Acknowledged by {one_line(incident.acknowledged_by)}{at}")
    elif incident.resolved_at is None and (incident.level, incident.round) != (1, 1):
        again = "" if incident.round == 1 else f", for the {_ordinal(incident.round)} time"
        out.text(f"\n\n⏫ Escalated to level {incident.level}{again}")
    if incident.resolved_by:
        out.text(f"\n\n👤 Resolved by {one_line(incident.resolved_by)}")
    if incident.held_back and not news:
        number = f"{incident.held_back} {'notification' if incident.held_back == 1 else 'notifications'}"
        out.text(f"\n\n🔕 {number} held back (ALERT_THROTTLES)")
    if incident.reopened:
        times = "once" if incident.reopened == 1 else f"{incident.reopened} times"
        out.text(f"\n\n🔁 Reopened {times}")
        if news and incident.resolved_at is None and incident.reopened == MOST_REOPENED:
            out.text(". If it goes on like this, only the first message changes.")


def _ordinal(number: int) -> str:
    tens, ones = divmod(number % 100, 10)
    return f"{number}{'th' if tens == 1 else {1: 'st', 2: 'nd', 3: 'rd'}.get(ones, 'th')}"


def named(name: str, severity: str) -> str:
    """Returns the name of an alert with its severity."""
    shown = f" ({_cut(_line(severity), LONGEST_SEVERITY)})" if severity else ""
    return _cut(_line(name) or "Alert") + shown


def one_line(text: str) -> str:
    """Returns the name of a person or a cluster as one line that is not too long."""
    return _cut(_line(text), LONGEST_NAME)


def _unreadable(out: Builder, notification: Notification) -> None:
    count = len(notification.unreadable)
    out.text("\n\n" if notification.items else "")
    out.text("⚠️ ").bold(f"{count} {'alert' if count == 1 else 'alerts'} could not be read")
    for fault in notification.unreadable[:MOST_UNREADABLE]:
        out.text(f"\n{_cut(fault, 200)}")
    if count > MOST_UNREADABLE:
        out.text(f"\nand {count - MOST_UNREADABLE} more")
    if notification.external_url:
        out.text("\n").link("see Alertmanager", notification.external_url)


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def _line(text: str) -> str:
    """Returns a text as one line: a label of anybody's cannot look like another alert."""
    return _BREAKS.sub(" ", _DIRECTIONS.sub("", text))


def _cut(text: str, longest: int = LONGEST_VALUE) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def moment(seconds: float) -> str:
    """Returns a time to the second, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "an unknown time"


def span(seconds: float) -> str:
    """Returns a duration in its two largest units, such as ``3 min 20 s``."""
    whole = max(0, round(seconds))
    days, hours = whole // _DAY, whole % _DAY // _HOUR
    minutes, rest = whole % _HOUR // _MINUTE, whole % _MINUTE
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    named = [f"{count} {unit}" for count, unit in units if count]
    return " ".join(named[:2]) or "0 s"
