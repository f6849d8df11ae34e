"""What Prometheus, Alertmanager and the reader's chat show of a rule."""

import time
from dataclasses import dataclass

from benchmarks.alerts_check.causes import Cause
from benchmarks.alerts_check.stack import READER, Stack

FIRE_SECONDS = 200.0
#: The windows of the error budget's alerts are the longest: six hours are six minutes.
RESOLVE_SECONDS = 420.0


@dataclass
class Seen:
    """One rule: seconds from the break until it fires and is in the chat, and from mending to its end.

    None: not seen. Of an inhibited rule ``delivered`` is when Alertmanager showed that it is inhibited.
    """

    rule: str
    cause: str
    fired: float | None = None
    delivered: float | None = None
    resolved: float | None = None
    inhibited: bool = False

    @property
    def complete(self) -> bool:
        return None not in (self.fired, self.delivered, self.resolved)


def firing(stack: Stack) -> set[str]:
    """The names of the alerts that fire in Prometheus."""
    answer = stack.client.get(f"{stack.urls['prometheus']}/api/v1/alerts").raise_for_status().json()
    return {one["labels"]["alertname"] for one in answer["data"]["alerts"] if one["state"] == "firing"}


def inhibited(stack: Stack) -> set[str]:
    """The names of the alerts that Alertmanager inhibits."""
    found = stack.client.get(f"{stack.urls['alertmanager']}/api/v2/alerts").raise_for_status().json()
    return {one["labels"]["alertname"] for one in found if one["status"]["inhibitedBy"]}


def texts(stack: Stack) -> list[str]:
    """The texts in the reader's chat."""
    url = f"{stack.urls['sandbox']}/api/chats/{READER}/messages"
    shown = stack.client.get(url, params={"limit": 1000}).raise_for_status().json()["messages"]
    return [each["message"].get("text", "") for each in shown]


def provoke(stack: Stack, cause: Cause) -> list[Seen]:
    """Breaks the cause, waits for its rules and their messages, and mends it."""
    rows = [Seen(rule, cause.what, inhibited=rule in cause.inhibited) for rule in cause.rules]
    before = texts(stack)
    start = time.monotonic()
    cause.breaks(stack)
    try:
        while time.monotonic() - start < FIRE_SECONDS:
            cause.goes_on(stack)
            _look(stack, rows, before, start)
            if None not in {seen for row in rows for seen in (row.fired, row.delivered)}:
                break
            time.sleep(0.2)
    finally:
        cause.mends(stack)
    return rows


def _look(stack: Stack, rows: list[Seen], before: list[str], start: float) -> None:
    now_firing, now_inhibited, shown = firing(stack), inhibited(stack), texts(stack)
    for row in rows:
        seconds = time.monotonic() - start
        if row.fired is None and row.rule in now_firing:
            row.fired = seconds
        arrived = _has(row.rule, shown) > _has(row.rule, before)
        if row.delivered is None and (row.rule in now_inhibited if row.inhibited else arrived):
            row.delivered = seconds


def _has(rule: str, shown: list[str]) -> int:
    return sum(rule in text for text in shown)


def wait_for_ends(stack: Stack, rows: list[Seen], mended: float) -> None:
    """Waits until the rules of mended causes are quiet, and the chat says so.

    Args:
        stack: that runs.
        rows: of one cause.
        mended: when it was mended, as ``time.monotonic()``.
    """
    now_firing, shown = firing(stack), texts(stack)
    for row in rows:
        told = row.inhibited or any(text.startswith(f"✅ {row.rule}") for text in shown)
        if row.fired is not None and row.resolved is None and row.rule not in now_firing and told:
            row.resolved = time.monotonic() - mended
