"""The text of a digest: a line for each kind of event, the most severe first. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from services.bridge.chats.times import time_of_day, to_the_minute, zone_of
from services.bridge.events.render import emoji_of
from services.contracts.fields import Severity
from services.outbox.messages import Text
from services.outbox.telegram.text import ENTITY_LIMIT, MESSAGE_LIMIT, Builder, room_for_repeated

_SEVERITIES = {severity.value: rank for rank, severity in enumerate(Severity)}
#: Room for the line that says how many events are not shown.
_REST_ROOM = 40
#: Characters of a line that are shown of a title.
_LONGEST_TITLE = 200


@dataclass(frozen=True, slots=True)
class Shown:
    """An event of a digest.

    Args:
        kind: the event type.
        title: its own.
        severity: a value of :class:`Severity`.
        at: when it was accepted, seconds since the epoch.
    """

    kind: str
    title: str
    severity: str
    at: float


def title_of(key: str, number: int) -> str:
    """The title of a digest's event."""
    return f"{_one_line(key)}: {number} events"


def highest(events: Iterable[Shown]) -> Severity:
    """The highest severity of some events."""
    return list(Severity)[max(_rank(one.severity) for one in events)]


def text_of(key: str, events: Sequence[Shown], zone: str) -> Text:
    """One line for all events with the same type, title and severity: how many, and when.

    Args:
        key: of the digest.
        events: at least one, in the order of their acceptance.
        zone: IANA time zone of the chat.
    """
    there = zone_of(zone)
    days = {_local(one.at, there).date() for one in events}
    form = "%H:%M" if len(days) == 1 else "%d %b %H:%M"
    # The zone is named once, in the heading.
    since = (time_of_day if len(days) == 1 else to_the_minute)(events[0].at, zone)
    out = Builder().text("🗞️ ").bold(title_of(key, len(events))).text(f" since {since}\n")
    room = MESSAGE_LIMIT - room_for_repeated() - _REST_ROOM
    left = len(events)
    # The heading has one entity, each line another one.
    for alike in _groups(events)[: ENTITY_LIMIT - 1]:
        line = _line(alike, there, form)
        if len(out.build().text) + len(line.text) > room:
            break
        out.add(line)
        left -= len(alike)
    if left:
        out.text(f"\n… and {left} more")
    return out.build()


def _groups(events: Sequence[Shown]) -> list[list[Shown]]:
    found: dict[tuple[str, str, str], list[Shown]] = {}
    for one in events:
        found.setdefault((one.kind, one.title, one.severity), []).append(one)
    return sorted(found.values(), key=lambda alike: -_rank(alike[0].severity))


def _rank(severity: str) -> int:
    return _SEVERITIES.get(severity, 0)


def _line(alike: Sequence[Shown], zone: ZoneInfo, form: str) -> Text:
    first, last = (_local(one.at, zone).strftime(form) for one in (alike[0], alike[-1]))
    title = _one_line(alike[0].title)[:_LONGEST_TITLE]
    facts = [
        f"{len(alike)} times" if len(alike) > 1 else "",
        alike[0].severity if _rank(alike[0].severity) else "",
        first if first == last else f"{first} to {last}",
    ]
    out = Builder().text(f"\n{emoji_of(alike[0].kind)} ").bold(title)
    return out.text(" · " + " · ".join(fact for fact in facts if fact)).build()


def _one_line(text: str) -> str:
    """The text without line breaks: what follows one would read as a line of the digest, of another event."""
    return " ".join(text.split())


def _local(at: float, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone(zone)
