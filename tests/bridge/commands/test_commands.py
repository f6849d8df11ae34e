"""Commands and their replies as values: measurements, or unknown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bridge.approvals.approval import OpenApproval, Option
from services.bridge.commands import commands
from services.bridge.commands.commands import (
    FOREVER,
    MENU,
    ChatMode,
    CommandContext,
    Component,
    SetMode,
    SetMute,
    Snapshot,
)
from services.updates.command import Command, parse_command

NOW = 1_767_225_600.0
CONTEXT = CommandContext(1001, 1001, ChatMode.LOCAL, None, NOW)
NOTHING = Snapshot()
MEASURED = Snapshot(
    level="degraded",
    components=(
        Component("database", "healthy", {"response_time_ms": 1.2}),
        Component("redis_connection", "unknown", {"reason": "not configured"}),
        Component("telegram_updates", "degraded", {"mode": "polling", "last_success_age_seconds": None}),
    ),
    version="9.9.9",
    uptime=93_784.0,
    memory_bytes=128 * 1_048_576,
    cpu_percent=12.5,
    totals={"accepted": 12, "dead_letters": 1},
    totals_since=NOW - 86_400,
    queue={"queued": 2, "sending": 1, "retry_wait": 4, "unknown": 0, "dead_letter": 9},
    oldest_age=61.25,
    accepted_per_second=1.5,
    delivered_per_second=1.25,
    delivery_percent=95.83,
    p50=0.12,
    p95=0.5,
    p99=1.25,
    open_approvals=(OpenApproval("K7QX3M", "Deploy?", (Option("yes", "Yes"), Option("no", "No")), NOW + 60),),
)


def reply(
    name: str, snapshot: Snapshot = MEASURED, argument: str = "", context: CommandContext = CONTEXT
) -> str:
    return commands.run(Command(name, argument), snapshot, context).text.text


@pytest.mark.parametrize("name", sorted(MENU))
def test_every_command_of_the_menu_has_a_reply_with_and_without_measurements(name: str) -> None:
    assert reply(name)
    assert reply(name, NOTHING)


def test_a_missing_measurement_is_shown_as_unknown_and_not_as_zero() -> None:
    assert "Waiting: unknown" in reply("status", NOTHING)
    assert "This process is up: unknown" in reply("status", NOTHING)
    assert "Messages since unknown" in reply("metrics", NOTHING)
    assert "Delivered of finished, last hour: unknown" in reply("status", NOTHING)
    assert reply("status", NOTHING).startswith("⚪ unknown")
    assert "Memory: unknown" in reply("metrics", NOTHING)
    assert "CPU: unknown" in reply("metrics", NOTHING)
    assert reply("analytics", NOTHING).count("unknown") == 6
    assert "unknown" in reply("queue", NOTHING)


def test_status_shows_the_measurements() -> None:
    text = reply("status")
    assert text.startswith("🟡 degraded")
    assert "Waiting: 7" in text
    assert "Oldest: 61.2 s" in text
    assert "Delivered of finished, last hour: 95.8 %" in text
    assert "Open questions for you: 1" in text
    assert "This process is up: 1 day, 2:03:04" in text
    assert "This chat: local" in text


def test_an_empty_queue_has_no_oldest_message() -> None:
    empty = Snapshot(queue={"queued": 0, "sending": 0, "retry_wait": 0}, oldest_age=None)
    assert "Waiting: 0" in reply("status", empty)
    assert "Oldest: none" in reply("status", empty)


def test_health_shows_every_component_with_its_measurements() -> None:
    text = reply("health")
    assert text.startswith("🟡 degraded, as this process measured")
    assert "🟢 database: healthy (response_time_ms 1.2)" in text
    assert "⚪ redis_connection: unknown (reason not configured)" in text
    assert "🟡 telegram_updates: degraded (mode polling)" in text


def test_metrics_analytics_and_queue_show_their_numbers() -> None:
    assert reply("metrics").startswith("Messages since 2025-12-31 00:00 UTC\nAccepted: 12")
    assert "This process\nUp: 1 day, 2:03:04" in reply("metrics")
    assert "Dead letters: 1" in reply("metrics")
    assert "Memory: 128 MB" in reply("metrics")
    assert "Delivered, last minute: 1.25/s" in reply("analytics")
    assert "recent p95: 0.5 s" in reply("analytics")
    assert "dead letter: 9" in reply("queue")
    assert "retry wait: 4" in reply("queue")


def test_open_approvals_are_listed_with_their_codes() -> None:
    text = reply("approve")
    assert "K7QX3M Deploy?" in text
    assert "1 Yes, 2 No" in text
    assert reply("approve", NOTHING) == "No question is open for you."


def test_start_shows_chat_and_user_and_help_lists_all_commands() -> None:
    assert "This chat is 1001, you are 1001." in reply("start")
    assert "9.9.9" in reply("start")
    assert all(f"/{name} " in reply("help") for name in MENU)


def test_an_unknown_command_gets_the_list_of_commands() -> None:
    text = reply("restart")
    assert text.startswith("There is no command /restart.")
    assert "/status" in text


@pytest.mark.parametrize(
    ("argument", "seconds"),
    [("30m", 1_800), ("2h", 7_200), ("1d", 86_400), ("90s", 90), ("15", 900), ("5 min", 300)],
)
def test_a_mute_with_a_duration_has_an_end(argument: str, seconds: int) -> None:
    reply = commands.run(Command("mute", argument), NOTHING, CONTEXT)
    assert reply.change == SetMute(NOW + seconds)


def test_a_mute_without_a_duration_has_no_end() -> None:
    reply = commands.run(Command("mute"), NOTHING, CONTEXT)
    assert reply.change == SetMute(FOREVER)
    assert "until you end it" in reply.text.text


@pytest.mark.parametrize("argument", ["0m", "-5m", "soon", "30x", "999999d", "m", "1.5h", "²m"])
def test_a_mute_with_an_invalid_duration_changes_nothing_and_shows_examples(argument: str) -> None:
    reply = commands.run(Command("mute", argument), NOTHING, CONTEXT)
    assert reply.change is None
    assert "/mute 30m" in reply.text.text


def test_unmute_and_the_modes_change_the_chat() -> None:
    assert commands.run(Command("unmute"), NOTHING, CONTEXT).change == SetMute(None)
    assert commands.run(Command("local"), NOTHING, CONTEXT).change == SetMode(ChatMode.LOCAL)
    assert commands.run(Command("nomad"), NOTHING, CONTEXT).change == SetMode(ChatMode.NOMAD)


def test_status_shows_until_when_the_chat_is_muted() -> None:
    muted = CommandContext(1001, 1001, ChatMode.NOMAD, NOW + 60, NOW)
    assert "This chat: muted until 2026-01-01 00:01 UTC (nomad mode)" in reply("status", context=muted)


def test_a_command_is_parsed_with_its_argument_and_its_bot() -> None:
    assert parse_command("/status") == Command("status")
    assert parse_command(" /Mute  30m ") == Command("mute", "30m")
    assert parse_command("/approve@my_bot K7QX3M Yes, go") == Command("approve", "K7QX3M Yes, go", "my_bot")
    for text in ("", "/", "hello", "status /status", "//x", "/ä"):
        assert parse_command(text) is None


@given(st.text())
def test_any_text_is_parsed_and_every_command_has_a_reply(text: str) -> None:
    command = parse_command(text)
    if command is not None:
        assert commands.run(command, MEASURED, CONTEXT).text.text
