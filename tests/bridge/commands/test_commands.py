"""Commands and their answers, as values: what was measured, or that it is unknown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bridge.approvals.approval import OpenApproval, Option
from services.bridge.commands import commands, parse
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
from services.bridge.commands.parse import Command

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
    totals={"accepted_total": 12, "dead_letters_total": 1},
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


def answer(
    name: str, snapshot: Snapshot = MEASURED, argument: str = "", context: CommandContext = CONTEXT
) -> str:
    return commands.run(Command(name, argument), snapshot, context).text.text


@pytest.mark.parametrize("name", sorted(MENU))
def test_every_command_of_the_menu_is_answered_measured_or_not(name: str) -> None:
    assert answer(name)
    assert answer(name, NOTHING)


def test_nothing_measured_is_said_to_be_unknown_never_zero() -> None:
    assert "Waiting: unknown" in answer("status", NOTHING)
    assert "Up: unknown" in answer("status", NOTHING)
    assert "Delivered of finished, last hour: unknown" in answer("status", NOTHING)
    assert answer("status", NOTHING).startswith("⚪ unknown")
    assert "Memory: unknown" in answer("metrics", NOTHING)
    assert "CPU: unknown" in answer("metrics", NOTHING)
    assert answer("analytics", NOTHING).count("unknown") == 6
    assert "unknown" in answer("queue", NOTHING)


def test_the_status_says_what_was_measured() -> None:
    said = answer("status")
    assert said.startswith("🟡 degraded")
    assert "Waiting: 7" in said
    assert "Oldest: 61.2 s" in said
    assert "Delivered of finished, last hour: 95.8 %" in said
    assert "Open questions for you: 1" in said
    assert "Up: 1 day, 2:03:04" in said
    assert "This chat: local" in said


def test_an_empty_queue_has_no_oldest_message() -> None:
    empty = Snapshot(queue={"queued": 0, "sending": 0, "retry_wait": 0}, oldest_age=None)
    assert "Waiting: 0" in answer("status", empty)
    assert "Oldest: none" in answer("status", empty)


def test_health_has_every_component_with_its_measurements() -> None:
    said = answer("health")
    assert "🟢 database: healthy (response_time_ms 1.2)" in said
    assert "⚪ redis_connection: unknown (reason not configured)" in said
    assert "🟡 telegram_updates: degraded (mode polling)" in said


def test_metrics_analytics_and_queue_have_the_numbers() -> None:
    assert "Accepted: 12" in answer("metrics")
    assert "Dead letters: 1" in answer("metrics")
    assert "Memory: 128 MB" in answer("metrics")
    assert "Delivered: 1.25/s" in answer("analytics")
    assert "recent p95: 0.5 s" in answer("analytics")
    assert "dead letter: 9" in answer("queue")
    assert "retry wait: 4" in answer("queue")


def test_open_questions_are_listed_with_their_codes() -> None:
    said = answer("approve")
    assert "K7QX3M Deploy?" in said
    assert "1 Yes, 2 No" in said
    assert answer("approve", NOTHING) == "No question is open for you."


def test_start_tells_who_and_where_and_help_lists_all() -> None:
    assert "This chat is 1001, you are 1001." in answer("start")
    assert "9.9.9" in answer("start")
    assert all(f"/{name} " in answer("help") for name in MENU)


def test_an_unknown_command_gets_the_list() -> None:
    said = answer("restart")
    assert said.startswith("There is no command /restart.")
    assert "/status" in said


@pytest.mark.parametrize(
    ("argument", "seconds"),
    [("30m", 1_800), ("2h", 7_200), ("1d", 86_400), ("90s", 90), ("15", 900), ("5 min", 300)],
)
def test_a_mute_for_a_while_ends_by_itself(argument: str, seconds: int) -> None:
    reply = commands.run(Command("mute", argument), NOTHING, CONTEXT)
    assert reply.change == SetMute(NOW + seconds)


def test_a_mute_alone_lasts_until_it_is_ended() -> None:
    reply = commands.run(Command("mute"), NOTHING, CONTEXT)
    assert reply.change == SetMute(FOREVER)
    assert "until you end it" in reply.text.text


@pytest.mark.parametrize("argument", ["0m", "-5m", "soon", "30x", "999999d", "m", "1.5h", "²m"])
def test_a_mute_that_is_not_understood_changes_nothing_and_asks(argument: str) -> None:
    reply = commands.run(Command("mute", argument), NOTHING, CONTEXT)
    assert reply.change is None
    assert "/mute 30m" in reply.text.text


def test_unmute_and_the_modes_change_the_chat() -> None:
    assert commands.run(Command("unmute"), NOTHING, CONTEXT).change == SetMute(None)
    assert commands.run(Command("local"), NOTHING, CONTEXT).change == SetMode(ChatMode.LOCAL)
    assert commands.run(Command("nomad"), NOTHING, CONTEXT).change == SetMode(ChatMode.NOMAD)


def test_the_status_says_that_the_chat_is_muted_and_until_when() -> None:
    muted = CommandContext(1001, 1001, ChatMode.NOMAD, NOW + 60, NOW)
    assert "This chat: muted until 2026-01-01 00:01 UTC (nomad mode)" in answer("status", context=muted)


def test_a_command_is_read_with_its_argument_and_the_bot_it_names() -> None:
    assert parse.parse_command("/status") == Command("status")
    assert parse.parse_command(" /Mute  30m ") == Command("mute", "30m")
    assert parse.parse_command("/approve@my_bot K7QX3M Yes, go") == Command(
        "approve", "K7QX3M Yes, go", "my_bot"
    )
    for text in ("", "/", "hello", "status /status", "//x", "/ä"):
        assert parse.parse_command(text) is None


@given(st.text())
def test_any_text_is_a_command_or_none_and_every_command_is_answered(text: str) -> None:
    command = parse.parse_command(text)
    if command is not None:
        assert commands.run(command, MEASURED, CONTEXT).text.text
