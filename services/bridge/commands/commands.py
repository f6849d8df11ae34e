"""Commands and their replies. Pure: every number comes from a snapshot of measurements."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from services.bridge.approvals import result_text
from services.bridge.approvals.approval import OpenApproval
from services.bridge.chats.times import to_the_minute
from services.bridge.commands.parse import parse_duration
from services.outbox.messages import Text
from services.outbox.telegram.text import Builder
from services.updates.command import Command

#: Without an end; still a time that every library can print.
FOREVER = 253_402_300_000.0
_UNKNOWN = "unknown"
MOST_LISTED = 10

#: Telegram's menu of commands, in this order.
MENU = {
    "status": "health and waiting messages",
    "health": "every component of the process that answers",
    "metrics": "messages in total, and the process that answers",
    "analytics": "rates, delivery and latency of the last hour",
    "queue": "messages by state",
    "approve": "answer a question: /approve CODE OPTION; alone: list the open ones",
    "mute": "only critical messages and questions; /mute 30m for a while",
    "unmute": "all messages again",
    "local": "confirm what you write by a reaction",
    "nomad": "confirm what you write by a reply",
    "help": "this list",
    "start": "about this bot",
}


class ChatMode(StrEnum):
    """How the bot confirms what people write in a chat."""

    LOCAL = "local"  #: by a reaction
    NOMAD = "nomad"  #: by a reply: for people who see only the chat


@dataclass(frozen=True, slots=True)
class Component:
    """A component of the health report."""

    name: str
    level: str
    measured: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Measurements; None: not measured yet."""

    level: str = _UNKNOWN
    components: tuple[Component, ...] = ()
    version: str = _UNKNOWN
    uptime: float | None = None  #: seconds
    memory_bytes: int | None = None
    cpu_percent: float | None = None
    totals: Mapping[str, int] = field(default_factory=dict)  #: of all replicas
    totals_since: float | None = None  #: seconds since the epoch
    queue: Mapping[str, int] | None = None
    oldest_age: float | None = None  #: seconds
    accepted_per_second: float | None = None
    delivered_per_second: float | None = None
    delivery_percent: float | None = None  #: delivered of finished, last hour
    p50: float | None = None  #: seconds
    p95: float | None = None
    p99: float | None = None
    open_approvals: tuple[OpenApproval, ...] = ()  #: that the person may decide; the next to expire first


@dataclass(frozen=True, slots=True)
class CommandContext:
    """Chat and person of a command, with the settings of the chat."""

    chat_id: int
    user_id: int
    mode: ChatMode
    muted_until: float | None
    now: float
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class SetMode:
    """Change: set the chat's mode."""

    mode: ChatMode


@dataclass(frozen=True, slots=True)
class SetMute:
    """Change: mute the chat until a time, seconds since the epoch; None: end the mute."""

    until: float | None


@dataclass(frozen=True, slots=True)
class CommandReply:
    """The reply to a command, and the change of the chat to store."""

    text: Text
    change: SetMode | SetMute | None = None


def run(command: Command, snapshot: Snapshot, context: CommandContext) -> CommandReply:
    """The reply to a command; an unknown one gets the list of commands."""
    handler = _COMMANDS.get(command.name)
    if handler is None:
        out = Builder().text(f"There is no command /{command.name}.\n\n")
        return CommandReply(_list(out).build())
    return handler(command, snapshot, context)


def _start(_: Command, snapshot: Snapshot, context: CommandContext) -> CommandReply:
    out = Builder().bold("CCTelegram").text(f" {snapshot.version} brings events and questions to this chat.")
    out.text("\nThis chat is ").code(str(context.chat_id)).text(", you are ").code(str(context.user_id)).text(
        ".\n\n"
    )
    return CommandReply(_list(out).build())


def _help(_: Command, __: Snapshot, ___: CommandContext) -> CommandReply:
    return CommandReply(_list(Builder()).build())


def _list(out: Builder) -> Builder:
    for name, text in MENU.items():
        out.text(f"/{name} – {text}\n")  # noqa: RUF001 - a dash
    return out


def _status(_: Command, snapshot: Snapshot, context: CommandContext) -> CommandReply:
    out = Builder().bold(f"{_sign(snapshot.level)} {snapshot.level}")
    _fact(out, "Waiting", _waiting(snapshot.queue))
    _fact(out, "Oldest", "none" if _is_empty(snapshot) else _seconds(snapshot.oldest_age))
    _fact(out, "Delivered of finished, last hour", _percent(snapshot.delivery_percent))
    _fact(out, "Open questions for you", str(len(snapshot.open_approvals)))
    _fact(out, "This process is up", _long(snapshot.uptime))
    _fact(out, "This chat", mode_line(context))
    return CommandReply(out.build())


def mode_line(context: CommandContext) -> str:
    """The mode of the chat, and until when it is muted."""
    if context.muted_until is None:
        return context.mode.value
    return f"muted {_until(context.muted_until, context)} ({context.mode.value} mode)"


def _is_empty(snapshot: Snapshot) -> bool:
    return snapshot.queue is not None and snapshot.oldest_age is None


def _waiting(queue: Mapping[str, int] | None) -> str:
    if queue is None:
        return _UNKNOWN
    return str(sum(queue.get(state, 0) for state in ("queued", "sending", "retry_wait")))


def _health(_: Command, snapshot: Snapshot, __: CommandContext) -> CommandReply:
    out = Builder().bold(f"{_sign(snapshot.level)} {snapshot.level}").text(", as this process measured")
    for component in snapshot.components:
        out.text(f"\n{_sign(component.level)} {component.name}: {component.level}")
        measured = ", ".join(
            f"{name} {value}" for name, value in component.measured.items() if value is not None
        )
        if measured:
            out.text(f" ({measured})")
    return CommandReply(out.build())


def _metrics(_: Command, snapshot: Snapshot, context: CommandContext) -> CommandReply:
    at = snapshot.totals_since
    since = _UNKNOWN if at is None else to_the_minute(at, context.time_zone)
    out = Builder().bold(f"Messages since {since}")
    for name, number in snapshot.totals.items():
        _fact(out, name.replace("_", " ").capitalize(), str(number))
    out.text("\n").bold("This process")
    _fact(out, "Up", _long(snapshot.uptime))
    memory = snapshot.memory_bytes
    _fact(out, "Memory", _UNKNOWN if memory is None else f"{memory / 1_048_576:.0f} MB")
    _fact(out, "CPU", _percent(snapshot.cpu_percent))
    return CommandReply(out.build())


def _analytics(_: Command, snapshot: Snapshot, __: CommandContext) -> CommandReply:
    out = Builder().bold("Last minute, and last hour")
    _fact(out, "Accepted, last minute", _rate(snapshot.accepted_per_second))
    _fact(out, "Delivered, last minute", _rate(snapshot.delivered_per_second))
    _fact(out, "Delivered of finished, last hour", _percent(snapshot.delivery_percent))
    for name, value in (("p50", snapshot.p50), ("p95", snapshot.p95), ("p99", snapshot.p99)):
        _fact(out, f"Accepted to delivered, recent {name}", _seconds(value))
    return CommandReply(out.build())


def _queue(_: Command, snapshot: Snapshot, __: CommandContext) -> CommandReply:
    out = Builder().bold("Messages by state")
    if snapshot.queue is None:
        return CommandReply(out.text(f"\n{_UNKNOWN}").build())
    for state, number in snapshot.queue.items():
        _fact(out, state.replace("_", " "), str(number))
    _fact(out, "oldest", "none" if _is_empty(snapshot) else _seconds(snapshot.oldest_age))
    return CommandReply(out.build())


def _mute(command: Command, _: Snapshot, context: CommandContext) -> CommandReply:
    seconds = parse_duration(command.argument) if command.argument else None
    if command.argument and seconds is None:
        return CommandReply(
            Builder().text("For how long? /mute 30m, /mute 2h, /mute 1d, or /mute alone.").build()
        )
    until = FOREVER if seconds is None else context.now + seconds
    text = f"🔇 Muted {_until(until, context)}: only what is critical, and questions. /unmute ends it."
    return CommandReply(Builder().text(text).build(), SetMute(until))


def _unmute(_: Command, __: Snapshot, context: CommandContext) -> CommandReply:
    text = "🔔 Everything again." if context.muted_until is not None else "This chat is not muted."
    return CommandReply(Builder().text(text).build(), SetMute(None))


def _local(_: Command, __: Snapshot, ___: CommandContext) -> CommandReply:
    text = "Local: what you write is confirmed by a reaction."
    return CommandReply(Builder().text(text).build(), SetMode(ChatMode.LOCAL))


def _nomad(_: Command, __: Snapshot, ___: CommandContext) -> CommandReply:
    text = "Nomad: what you write is confirmed by a reply."
    return CommandReply(Builder().text(text).build(), SetMode(ChatMode.NOMAD))


def list_open(_: Command, snapshot: Snapshot, context: CommandContext) -> CommandReply:
    """``/approve`` without a code: the open approvals that the person may decide."""
    if not snapshot.open_approvals:
        return CommandReply(Builder().text("No question is open for you.").build())
    out = Builder().bold("Open questions")
    for one in snapshot.open_approvals[:MOST_LISTED]:
        out.text("\n\n").code(one.code).text(f" {one.title}\n{result_text.option_list(one.options)}")
        out.text(f"\nuntil {to_the_minute(one.expires_at, context.time_zone)}")
    left = len(snapshot.open_approvals) - MOST_LISTED
    return CommandReply(out.text(f"\n\nand {left} more, which end later" if left > 0 else "").build())


_COMMANDS: Mapping[str, Callable[[Command, Snapshot, CommandContext], CommandReply]] = {
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
    "approve": list_open,
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


def _until(seconds: float, context: CommandContext) -> str:
    if seconds >= FOREVER:
        return "until you end it"
    return f"until {to_the_minute(seconds, context.time_zone)}"
