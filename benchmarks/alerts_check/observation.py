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

    None: not seen.
    """

    rule: str
    cause: str
    fired: float | None = None
    delivered: float | None = None
    resolved: float | None = None
    silent: bool = False

    @property
    def complete(self) -> bool:
        return None not in (self.fired, self.resolved) and (self.silent or self.delivered is not None)


def firing(stack: Stack) -> set[str]:
    """The names of the alerts that fire in Prometheus."""
    answer = stack.client.get(f"{stack.urls['prometheus']}/api/v1/alerts").raise_for_status().json()
    return {one["labels"]["alertname"] for one in answer["data"]["alerts"] if one["state"] == "firing"}


def texts(stack: Stack) -> list[str]:
    """The texts in the reader's chat."""
    url = f"{stack.urls['sandbox']}/api/chats/{READER}/messages"
    shown = stack.client.get(url, params={"limit": 1000}).raise_for_status().json()["messages"]
    return [each["message"].get("text", "") for each in shown]


def provoke(stack: Stack, cause: Cause) -> list[Seen]:
    """Breaks the cause, waits for its rules and their messages, and mends it."""
    rows = [Seen(rule, cause.what, silent=rule in cause.silent) for rule in cause.rules]
    before = texts(stack)
    start = time.monotonic()
    cause.breaks(stack)
    try:
        while time.monotonic() - start < FIRE_SECONDS:
            cause.goes_on(stack)
            _look(stack, rows, before, start)
            if all(row.fired is not None and (row.silent or row.delivered is not None) for row in rows):
                break
            time.sleep(0.2)
    finally:
        cause.mends(stack)
    return rows


def _look(stack: Stack, rows: list[Seen], before: list[str], start: float) -> None:
    now_firing, shown = firing(stack), texts(stack)
    for row in rows:
        seconds = time.monotonic() - start
        if row.fired is None and row.rule in now_firing:
            row.fired = seconds
        if row.delivered is None and _has(row.rule, shown) > _has(row.rule, before):
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
        told = row.silent or any(text.startswith(f"✅ {row.rule}") for text in shown)
        if row.fired is not None and row.resolved is None and row.rule not in now_firing and told:
            row.resolved = time.monotonic() - mended
