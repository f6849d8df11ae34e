"""Commands and their answers. Pure: what is said comes from a snapshot of what was measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from services.bridge.commands.parse import Command, duration
from services.outbox.messages import Text
from services.outbox.telegram.text import Builder

#: As good as for ever, and still a time that every library can print.
FOREVER = 253_402_300_000.0
_UNKNOWN = "unknown"
MOST_LISTED = 10


#: For Telegram's menu, in its order.
MENU = {
    "status": "whether all is well, and what waits",
    "health": "every component as last measured",
    "metrics": "what this process counted since its start",
    "analytics": "rates, delivery and latency of the last hour",
    "queue": "messages by state",
    "approve": "answer a question: /approve CODE OPTION; alone: those that are open",
    "mute": "only what is critical; /mute 30m for a while",
    "unmute": "everything again",
    "local": "a sign under what you write, no words",
    "nomad": "words in answer to what you write",
    "help": "this list",
    "start": "who this is",
}


class Mode(StrEnum):
    """How the bot answers what people write."""

    LOCAL = "local"  #: with a reaction: they sit at their desk
    NOMAD = "nomad"  #: with words: the chat is all that they see


@dataclass(frozen=True, slots=True)
class Component:
    name: str
    level: str
    measured: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    code: str
    title: str
    options: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was measured. None: it was not, or cannot be yet."""

    level: str = _UNKNOWN
    components: tuple[Component, ...] = ()
    version: str = _UNKNOWN
    uptime: float | None = None  #: seconds
    memory_bytes: int | None = None
    cpu_percent: float | None = None
    totals: Mapping[str, int] = field(default_factory=dict)
    queue: Mapping[str, int] | None = None
    oldest_age: float | None = None  #: seconds
    accepted_per_second: float | None = None
    delivered_per_second: float | None = None
    delivery_percent: float | None = None  #: of what finished in the last hour
    p50: float | None = None  #: seconds
    p95: float | None = None
    p99: float | None = None
    open_questions: tuple[OpenQuestion, ...] = ()  #: that who asks may answer; what ends first comes first


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command was given, by whom, and how things stand there."""

    chat_id: int
    user_id: int
    name: str
    mode: Mode
    muted_until: float | None
    now: float


@dataclass(frozen=True, slots=True)
class SetMode:
    mode: Mode


@dataclass(frozen=True, slots=True)
class SetMute:
    until: float | None


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered, and what changes."""

    text: Text
    change: SetMode | SetMute | None = None


def answer(command: Command, snapshot: Snapshot, place: Place) -> Reply:
    """The answer to a command; one that is not known gets the list."""
    handler = _ANSWERS.get(command.name)
    if handler is None:
        out = Builder().text(f"There is no command /{command.name}.\n\n")
        return Reply(_list(out).build())
    return handler(command, snapshot, place)


def _start(_: Command, snapshot: Snapshot, place: Place) -> Reply:
    out = Builder().bold("CCTelegram").text(f" {snapshot.version} brings events and questions to this chat.")
    out.text("\nThis chat is ").code(str(place.chat_id)).text(", you are ").code(str(place.user_id)).text(
        ".\n\n"
    )
    return Reply(_list(out).build())


def _help(_: Command, __: Snapshot, ___: Place) -> Reply:
    return Reply(_list(Builder()).build())


def _list(out: Builder) -> Builder:
    for name, text in MENU.items():
        out.text(f"/{name} – {text}\n")  # noqa: RUF001 - a dash
    return out


def _status(_: Command, snapshot: Snapshot, place: Place) -> Reply:
    out = Builder().bold(f"{_sign(snapshot.level)} {snapshot.level}")
    _fact(out, "Waiting", _waiting(snapshot.queue))
    _fact(out, "Oldest", "none" if _is_empty(snapshot) else _seconds(snapshot.oldest_age))
    _fact(out, "Delivered of finished, last hour", _percent(snapshot.delivery_percent))
    _fact(out, "Open questions for you", str(len(snapshot.open_questions)))
    _fact(out, "Up", _long(snapshot.uptime))
    _fact(out, "This chat", mode_line(place))
    return Reply(out.build())


def mode_line(place: Place) -> str:
    if place.muted_until is None:
        return place.mode.value
    return f"muted {_until(place.muted_until)} ({place.mode.value} mode)"


def _is_empty(snapshot: Snapshot) -> bool:
    return snapshot.queue is not None and snapshot.oldest_age is None


def _waiting(queue: Mapping[str, int] | None) -> str:
    if queue is None:
        return _UNKNOWN
    return str(sum(queue.get(state, 0) for state in ("queued", "sending", "retry_wait")))


def _health(_: Command, snapshot: Snapshot, __: Place) -> Reply:
    out = Builder().bold(f"{_sign(snapshot.level)} {snapshot.level}")
    for component in snapshot.components:
        out.text(f"\n{_sign(component.level)} {component.name}: {component.level}")
        said = ", ".join(f"{name} {value}" for name, value in component.measured.items() if value is not None)
        if said:
            out.text(f" ({said})")
    return Reply(out.build())


def _metrics(_: Command, snapshot: Snapshot, __: Place) -> Reply:
    out = Builder().bold("Since this process started")
    for name, number in snapshot.totals.items():
        _fact(out, name.removesuffix("_total").replace("_", " ").capitalize(), str(number))
    _fact(out, "Up", _long(snapshot.uptime))
    memory = snapshot.memory_bytes
    _fact(out, "Memory", _UNKNOWN if memory is None else f"{memory / 1_048_576:.0f} MB")
    _fact(out, "CPU", _percent(snapshot.cpu_percent))
    return Reply(out.build())


def _analytics(_: Command, snapshot: Snapshot, __: Place) -> Reply:
    out = Builder().bold("Now, and over the last hour")
    _fact(out, "Accepted", _rate(snapshot.accepted_per_second))
    _fact(out, "Delivered", _rate(snapshot.delivered_per_second))
    _fact(out, "Delivered of finished", _percent(snapshot.delivery_percent))
    for name, value in (("p50", snapshot.p50), ("p95", snapshot.p95), ("p99", snapshot.p99)):
        _fact(out, f"Accepted to delivered, recent {name}", _seconds(value))
    return Reply(out.build())


def _queue(_: Command, snapshot: Snapshot, __: Place) -> Reply:
    out = Builder().bold("Messages by state")
    if snapshot.queue is None:
        return Reply(out.text(f"\n{_UNKNOWN}").build())
    for state, number in snapshot.queue.items():
        _fact(out, state.replace("_", " "), str(number))
    _fact(out, "oldest", "none" if _is_empty(snapshot) else _seconds(snapshot.oldest_age))
    return Reply(out.build())


def _mute(command: Command, _: Snapshot, place: Place) -> Reply:
    seconds = duration(command.argument) if command.argument else None
    if command.argument and seconds is None:
        return Reply(Builder().text("For how long? /mute 30m, /mute 2h, /mute 1d, or /mute alone.").build())
    until = FOREVER if seconds is None else place.now + seconds
    text = f"🔇 Muted {_until(until)}: only what is critical, and questions. /unmute ends it."
    return Reply(Builder().text(text).build(), SetMute(until))


def _unmute(_: Command, __: Snapshot, place: Place) -> Reply:
    said = "🔔 Everything again." if place.muted_until is not None else "This chat is not muted."
    return Reply(Builder().text(said).build(), SetMute(None))


def _local(_: Command, __: Snapshot, ___: Place) -> Reply:
    said = "Local: what you write gets a sign, no words."
    return Reply(Builder().text(said).build(), SetMode(Mode.LOCAL))


def _nomad(_: Command, __: Snapshot, ___: Place) -> Reply:
    said = "Nomad: what you write is answered with words."
    return Reply(Builder().text(said).build(), SetMode(Mode.NOMAD))


def open_questions(_: Command, snapshot: Snapshot, __: Place) -> Reply:
    """``/approve`` without a code."""
    if not snapshot.open_questions:
        return Reply(Builder().text("No question is open for you.").build())
    out = Builder().bold("Open questions")
    for one in snapshot.open_questions[:MOST_LISTED]:
        out.text("\n\n").code(one.code).text(f" {one.title}\n{one.options}\nuntil {moment(one.expires_at)}")
    left = len(snapshot.open_questions) - MOST_LISTED
    return Reply(out.text(f"\n\nand {left} more, which end later" if left > 0 else "").build())


_ANSWERS: Mapping[str, Callable[[Command, Snapshot, Place], Reply]] = {
    "start": _start,
    "help": _help,
    "status": _status,
    "health": _health,
    "metrics": _metrics,
    "analytics": _analytics,
    "queue": _queue,
    "mute": _mute,
    "unmute": _unmute,
    "local": _local,
    "nomad": _nomad,
    "approve": open_questions,
}


def _fact(out: Builder, label: str, value: str) -> None:
    out.text(f"\n{label}: ").code(value)


def _sign(level: str) -> str:
    signs = {"healthy": "🟢", "degraded": "🟡", "unhealthy": "🔴", "critical": "🔴"}
    return signs.get(level, "⚪")


def _seconds(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.3g} s"


def _long(value: float | None) -> str:
    return _UNKNOWN if value is None else str(timedelta(seconds=int(value)))


def _percent(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.1f} %"


def _rate(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f}/s"


def _until(seconds: float) -> str:
    return "until you end it" if seconds >= FOREVER else f"until {moment(seconds)}"


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
