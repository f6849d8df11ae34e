"""Quiet hours in the chat's time zone. Pure.

A period begins on each of its days at a local time and ends at another local time, perhaps on the next
day. Daylight saving never shortens it: of an end that occurs twice the second counts, and an end that is
skipped moves by as much as the clock was set forward.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import orjson
import structlog

from services.bridge.chats.times import zone_of
from services.contracts.chats import DAYS
from services.contracts.fields import Severity
from services.outbox.delivery.plan import Deferral
from services.outbox.messages import Claimed, Lane

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class QuietHours:
    """The quiet hours of a chat.

    Args:
        zone: time zone of the chat.
        start: local time.
        end: local time; on the next day unless it is after the start.
        days: on which the period begins; 0 is Monday.
        delays: whether messages wait for the end; else they go without a sound.
    """

    zone: ZoneInfo
    start: time
    end: time
    days: frozenset[int]
    delays: bool

    def until(self, now: float) -> float | None:
        """The end of the current quiet hours, seconds since the epoch; None if it is not quiet now."""
        today = datetime.fromtimestamp(now, UTC).astimezone(self.zone).date()
        ends = [end for start, end in self._around(today) if start <= now < end]
        return max(ends, default=None)

    def _around(self, today: date) -> Iterator[tuple[float, float]]:
        for day in (today - timedelta(days=1), today):
            if day.weekday() in self.days:
                next_day = day + timedelta(days=self.end <= self.start)
                yield self._at(day, self.start, 0), max(self._at(next_day, self.end, fold) for fold in (0, 1))

    def _at(self, day: date, moment: time, fold: int) -> float:
        return datetime.combine(day, moment.replace(fold=fold), self.zone).timestamp()


@lru_cache(maxsize=4_096)
def read(settings: str) -> QuietHours | None:
    """The quiet hours of a chat's settings, as :mod:`services.bridge.chats.api` writes them.

    Settings that cannot be read have none: they must not stop the chat.
    """
    try:
        stored = orjson.loads(settings)
        quiet = stored.get("quiet_hours")
        if not quiet:
            return None
        return QuietHours(
            zone=zone_of(stored["time_zone"]),
            start=time.fromisoformat(quiet["from"]),
            end=time.fromisoformat(quiet["to"]),
            days=frozenset(DAYS.index(day) for day in quiet["days"]),
            delays=quiet["action"] == "delay",
        )
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        log.warning("chat_settings_unreadable", error=f"{type(error).__name__}: {error}")
        return None


def deferral(message: Claimed, settings: str, now: float) -> Deferral | None:
    """Defers a message to the end of the quiet hours, or makes it silent; None: it goes as it is."""
    hours = read(settings)
    if hours is None or message.lane is Lane.URGENT or message.severity == Severity.CRITICAL.value:
        return None
    until = hours.until(now)
    if until is None:
        return None
    there = datetime.fromtimestamp(until, UTC).astimezone(hours.zone).isoformat(timespec="minutes")
    cause = f"quiet hours until {there}"
    return Deferral(until, cause) if hours.delays else Deferral(None, f"{cause}: without a sound")
