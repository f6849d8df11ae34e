"""Health in words: each state of Telegram, the queue, chats and neighbours, with what to do."""

from typing import Any

import pytest

from services.cli import findings
from services.cli.findings import Finding, Verdict
from services.contracts.health import CheckList, HealthReport
from services.contracts.keys import KeyView, Scope
from services.contracts.messages import Rates, Stats
from services.contracts.routes import TrialResult
from services.outbox.delivery.retry_policy import BOT_STOPS

TIME = "2026-01-31T08:00:00Z"


def report(status: str = "healthy", **components: dict[str, Any]) -> HealthReport:
    parts = {name.replace("__", ":"): {"last_check": TIME} | part for name, part in components.items()}
    return HealthReport.model_validate({"status": status, "timestamp": TIME, "components": parts})


def stats(**queue: int) -> Stats:
    return Stats(
        counted_since=None,
        counted_at=None,
        accepted_total=0,
        delivered_total=0,
        failed_total=0,
        retries_total=0,
        dead_letters_total=0,
        unknown_total=0,
        queue=queue,
        oldest_message_age_seconds=None,
        rates=Rates(accepted_per_second=0, delivered_per_second=0),
        delivery_rate_percent=None,
        latency_seconds=None,
        active_correlations=None,
    )


def test_a_bot_that_works_is_named() -> None:
    found = findings.telegram(report(telegram_api={"status": "healthy", "bot": "@shop_bot"}).components)
    assert list(found) == [Finding("bot", Verdict.OK, "@shop_bot")]


def test_every_bot_has_its_finding() -> None:
    health = report(
        telegram_api={"status": "healthy", "bot": "@shop_bot"},
        telegram__alerts={"status": "unhealthy", "error": "invalid_token"},
    )
    _, alerts = findings.telegram(health.components)
    assert alerts.name == "bot alerts"
    assert alerts.verdict is Verdict.WRONG
    assert alerts.text == "Telegram refuses the bot's token (401)"
    assert "@BotFather" in alerts.remedy


def test_every_reason_that_stops_a_bot_has_a_remedy() -> None:
    assert {reason.value for reason in BOT_STOPS} <= findings.TELEGRAM.keys()
    assert all(text and remedy for text, remedy in findings.TELEGRAM.values())


def test_the_sandbox_is_not_taken_for_telegram() -> None:
    (bot,) = findings.telegram(report(telegram_api={"status": "healthy", "bot": "@sandbox_1_bot"}).components)
    assert bot.verdict is Verdict.NOTE
    assert "TELEGRAM_BOT_TOKEN" in bot.remedy


def test_a_bot_that_was_not_checked_yet_is_no_fault() -> None:
    (bot,) = findings.telegram(report(telegram_api={"status": "unknown", "last_check": None}).components)
    assert bot.verdict is Verdict.NOTE


def test_an_unknown_reason_is_shown_as_it_is() -> None:
    (bot,) = findings.telegram(report(telegram_api={"status": "unhealthy", "error": "odd_reason"}).components)
    assert (bot.verdict, bot.text) == (Verdict.WRONG, "odd_reason")


def test_a_slow_queue_and_dead_letters_say_where_to_look() -> None:
    slow = {"status": "degraded", "queue_depth": 40, "oldest_message_age_seconds": 90.0}
    waiting, dead = findings.queue(report(message_queue=slow), stats(dead_letter=2))
    assert waiting.text == "waiting messages: 40, the oldest for 90.0 s"
    assert waiting.verdict is Verdict.WARNING
    assert "cct messages" in waiting.remedy
    assert (dead.verdict, dead.text) == (Verdict.WARNING, "messages given up: 2")
    (calm,) = findings.queue(report(message_queue={"status": "healthy", "queue_depth": 0}), stats())
    assert (calm.verdict, calm.remedy) == (Verdict.OK, "")


def test_other_components_are_named_only_when_they_need_attention() -> None:
    health = report(
        "degraded",
        database={"status": "healthy"},
        redis_connection={"status": "unknown", "reason": "not configured (REDIS_URL)"},
        file_system={"status": "degraded", "disk_usage": "91%"},
    )
    (disk,) = findings.components(health)
    assert (disk.name, disk.verdict, disk.text) == (
        "file_system",
        Verdict.WARNING,
        "degraded: disk_usage 91%",
    )
    assert findings.in_words(health) == "file_system: disk_usage 91%"


def test_a_refused_token_is_said_in_words() -> None:
    health = report("critical", telegram_api={"status": "critical", "error": "invalid_token"})
    assert findings.in_words(health) == "telegram_api: Telegram refuses the bot's token (401)"
    assert findings.in_words(report()) == "works"
    assert findings.in_words(report("unknown")) == "nothing was measured yet"


@pytest.mark.parametrize(
    ("scopes", "verdict", "text"),
    [
        (list(Scope), Verdict.OK, "ci: all scopes"),
        ([Scope.EVENTS_WRITE], Verdict.NOTE, "ci: events:write"),
    ],
)
def test_a_key_says_what_it_may_do(scopes: list[Scope], verdict: Verdict, text: str) -> None:
    key = KeyView.model_validate(
        {
            "id": "key_1",
            "name": "ci",
            "kind": "bearer",
            "scopes": scopes,
            "status": "active",
            "requests_per_second": None,
            "created_at": TIME,
            "created_by": "default",
            "expires_at": None,
            "last_used_at": None,
            "revoked_at": None,
        }
    )
    found = findings.key(key)
    assert (found.verdict, found.text) == (verdict, text)


def test_without_a_recipient_there_is_something_to_do() -> None:
    found = findings.chats(TrialResult(by="defaults", recipients=[]))
    assert found.verdict is Verdict.WRONG
    assert "TELEGRAM_CHAT_IDS" in found.remedy


def test_a_neighbour_is_not_configured_works_or_does_not() -> None:
    rows = {
        "prometheus": ("unknown", {"reason": "not configured (PROMETHEUS_URL)"}),
        "alertmanager": ("healthy", {"version": "0.28"}),
        "grafana": ("unhealthy", {"error": "connection refused"}),
        "memory": ("unhealthy", {}),
    }
    checks = CheckList.model_validate(
        {
            "status": "healthy",
            "timestamp": TIME,
            "checks": [
                {
                    "id": name,
                    "name": name.title(),
                    "type": "dependency",
                    "critical": False,
                    "status": status,
                    "duration_ms": None,
                    "last_check": None,
                    "consecutive_failures": 0,
                    "circuit": None,
                    "evidence": evidence,
                }
                for name, (status, evidence) in rows.items()
            ],
        }
    )
    assert [(found.name, found.verdict, found.text) for found in findings.neighbours(checks.checks)] == [
        ("Prometheus", Verdict.NOTE, "not configured (PROMETHEUS_URL)"),
        ("Alertmanager", Verdict.OK, "works"),
        ("Grafana", Verdict.WARNING, "unhealthy: connection refused"),
    ]
