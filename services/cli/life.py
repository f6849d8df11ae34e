"""A message's life as lines: each state and each attempt as a bar over time. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from services.cli import times
from services.cli.output import clean, style
from services.contracts.messages import Attempt, MessageDetail, StateChange

#: Characters of the longest bar.
WIDTH = 32


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the drawing.

    Args:
        start: seconds since the epoch.
        seconds: how long it took; None: it is a moment, or goes on.
        name: of the state, or the attempt.
        text: why, or how it ended.
        character: the bar's.
    """

    start: float
    seconds: float | None
    name: str
    text: str
    character: str


def drawn(message: MessageDetail, now: datetime) -> Iterator[Text]:
    """Yields the lines; times are in the zone of ``now``."""
    yield from _head(message, now)
    yield Text()
    rows = sorted([*_changes(message), *_attempts(message)], key=lambda row: row.start)
    begin = _seconds(message.accepted_at)
    end = max([begin, *(row.start + (row.seconds or 0) for row in rows)])
    if message.finished_at is None:
        end = max(end, now.timestamp())
    for row in rows:
        yield _line(row, begin, end, now)


def _head(message: MessageDetail, now: datetime) -> Iterator[Text]:
    passed = (_seconds(message.finished_at) if message.finished_at else now.timestamp()) - _seconds(
        message.accepted_at
    )
    since = "after" if message.finished_at else "for"
    yield Text.assemble(
        (clean(message.title), "bold"),
        "  ",
        (message.status, style(message.status)),
        f" {since} {times.length(max(0.0, passed))}",
        f": {message.last_error}" if message.last_error and message.status != "delivered" else "",
    )
    facts = [message.type, clean(message.source), message.severity, f"chat {message.chat_id}"]
    facts += [f"topic {message.thread_id}"] if message.thread_id else []
    facts += [] if message.bot == "default" else [f"bot {message.bot}"]
    yield Text(" · ".join(fact for fact in facts if fact), "dim")
    yield Text(f"event {message.event_id} · correlation id {clean(message.correlation_id)}", "dim")
    if message.links.trace:
        yield Text(f"trace {clean(message.links.trace)}", "dim")
    waits = {"not before": message.deliver_at, "quiet hours until": message.quiet_until}
    for text, moment in {**waits, "next attempt at": message.next_attempt_at}.items():
        if moment:
            yield Text(f"{text} {times.local(moment, now)}", "yellow")
    if message.possible_duplicate:
        yield Text("It may have arrived more than once.", "yellow")


def _changes(message: MessageDetail) -> Iterator[Row]:
    for change in message.events:
        yield _change(change)


def _change(change: StateChange) -> Row:
    seconds = None if change.duration_ms is None else change.duration_ms / 1000
    return Row(_seconds(change.at), seconds, change.state, change.cause, "─")


def _attempts(message: MessageDetail) -> Iterator[Row]:
    parts = max((attempt.part for attempt in message.attempts), default=1)
    for attempt in message.attempts:
        if attempt.started_at is not None:
            seconds = None if attempt.duration_ms is None else attempt.duration_ms / 1000
            name = f"  attempt {attempt.number}" + (f"/{attempt.part}" if parts > 1 else "")
            yield Row(_seconds(attempt.started_at), seconds, name, _ended(attempt), "█")


def _ended(attempt: Attempt) -> str:
    text = [attempt.outcome or "no answer yet"]
    if attempt.reason not in (None, "none"):
        text.append(f"{attempt.reason}")
    if attempt.detail:
        text.append(clean(attempt.detail))
    if attempt.retry_after_seconds:
        text.append(f"Telegram asks to wait {times.length(attempt.retry_after_seconds)}")
    if attempt.limiter_wait_ms >= 1:
        text.append(f"delayed {times.length(attempt.limiter_wait_ms / 1000)} by the rate limit")
    if attempt.telegram_message_id:
        text.append(f"message {attempt.telegram_message_id}")
    return ", ".join(text)


def _line(row: Row, begin: float, end: float, now: datetime) -> Text:
    there = datetime.fromtimestamp(row.start, now.tzinfo)
    day = "" if there.date() == now.date() else f"{there:%Y-%m-%d} "
    length = "" if row.seconds is None else times.length(row.seconds)
    return Text.assemble(
        (f"{day}{there:%H:%M:%S}.{there.microsecond // 1000:03}  ", "dim"),
        (f"{row.name:<13} ", style(row.name)),
        (f"{_bar(row, begin, end):<{WIDTH}}", style(row.name) or "cyan"),
        f" {length:>8}  ",
        clean(row.text),
    )


def _bar(row: Row, begin: float, end: float) -> str:
    """The bar at its place between the beginning and the end; at least one character."""
    scale = WIDTH / (end - begin) if end > begin else 0.0
    start = min(WIDTH - 1, max(0, int((row.start - begin) * scale)))
    size = max(1, round((row.seconds or 0) * scale))
    return " " * start + row.character * min(size, WIDTH - start)


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
