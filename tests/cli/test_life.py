"""The drawing of a message's life."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.cli import life
from services.contracts.messages import MessageDetail

START = datetime(2026, 1, 31, 8, tzinfo=UTC)
NOW = START + timedelta(hours=1)


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def message(**fields: Any) -> MessageDetail:
    shown: dict[str, Any] = {
        "id": "m",
        "event_id": "e",
        "type": "task_completion",
        "category": "task",
        "title": "Build finished",
        "source": "ci",
        "severity": "low",
        "chat_id": 1001,
        "thread_id": None,
        "bot": "default",
        "status": "delivered",
        "accepted_at": at(0),
        "finished_at": at(10),
        "next_attempt_at": None,
        "deliver_at": None,
        "quiet_until": None,
        "expires_at": None,
        "possible_duplicate": False,
        "correlation_id": "order-1",
        "trace_id": None,
        "telegram_message_ids": [],
        "last_error": None,
        "events": [],
        "attempts": [],
        "attempts_made": 0,
        "links": {"event": "/e", "trace": None},
        "body": "{}",
    }
    return MessageDetail.model_validate(shown | fields)


def change(start: float, state: str, length: float | None, cause: str = "") -> dict[str, Any]:
    return {"at": at(start), "state": state, "cause": cause, "duration_ms": length and length * 1000}


def attempt(start: float, length: float, **fields: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "number": 1,
        "part": 1,
        "claimed_at": at(start),
        "started_at": at(start),
        "duration_ms": length * 1000,
        "limiter_wait_ms": 0.0,
        "outcome": "sent",
        "reason": "none",
        "detail": None,
        "retry_after_seconds": None,
        "telegram_message_id": 42,
    }
    return shown | fields


def lines(shown: MessageDetail) -> list[str]:
    return [line.plain for line in life.drawn(shown, NOW)]


def test_states_and_attempts_are_bars_at_their_time() -> None:
    flood = {"outcome": "not_sent", "reason": "flood_control", "detail": "Too Many Requests: retry after 4"}
    shown = lines(
        message(
            events=[
                change(0, "queued", 2, "accepted"),
                change(2, "retry_wait", 6, "attempt 1: not_sent"),
                change(10, "delivered", None, "attempt 2: sent"),
            ],
            attempts=[
                attempt(2, 0.5, retry_after_seconds=4.0, telegram_message_id=None, **flood),
                attempt(8, 2, number=2, limiter_wait_ms=1500.0),
            ],
        )
    )
    assert shown == [
        "Build finished  delivered after 10 s",
        "task_completion · ci · low · chat 1001",
        "event e · correlation id order-1",
        "",
        "08:00:00.000  queued        ──────                                2 s  accepted",
        "08:00:02.000  retry_wait          ───────────────────             6 s  attempt 1: not_sent",
        (
            "08:00:02.000    attempt 1         ██                           500 ms  not_sent, flood_control,"
            " Too Many Requests: retry after 4, Telegram asks to wait 4 s"
        ),
        (
            "08:00:08.000    attempt 2                            ██████       2 s  sent,"
            " delayed 1.5 s by the rate limit, message 42"
        ),
        "08:00:10.000  delivered                                    ─           attempt 2: sent",
    ]


def test_an_unfinished_message_says_what_it_waits_for() -> None:
    waiting = {
        "status": "queued",
        "finished_at": None,
        "deliver_at": at(7_200),
        "thread_id": 7,
        "bot": "alerts",
    }
    shown = lines(message(events=[change(0, "queued", None, "accepted")], **waiting))
    assert shown[0] == "Build finished  queued for 60 min"
    assert shown[1].endswith("chat 1001 · topic 7 · bot alerts")
    assert "not before 10:00:00" in shown


def test_a_title_cannot_move_the_cursor() -> None:
    shown = lines(message(title="\x1b[2J\nDone", source="a\x07b"))
    assert shown[0].startswith("[2J Done")
    assert not any("\x1b" in line or "\x07" in line for line in shown)


@given(
    starts=st.lists(st.floats(-10, 100_000), max_size=8),
    lengths=st.lists(st.none() | st.floats(0, 100_000), min_size=8, max_size=8),
)
def test_every_bar_fits(starts: list[float], lengths: list[float | None]) -> None:
    events = [change(start, "sending", length) for start, length in zip(starts, lengths, strict=False)]
    for line in lines(message(events=events))[4:]:
        assert 1 <= line.count("─") <= life.WIDTH
