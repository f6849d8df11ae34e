"""What is broken for each rule, and the rules that cannot be provoked here, with the reason."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.alerts_check.stack import BROKEN, EVENTS, SLOW_CHATS, Collector, Stack
from services.kit.clock import rfc3339

Act = Callable[[Stack], None]
SENDS = ["sendMessage"]


@dataclass(frozen=True)
class Cause:
    """Something that is broken.

    Args:
        what: it is, for the table.
        rules: that must fire.
        breaks: does it, once.
        mends: undoes it.
        goes_on: is repeated while the rules are waited for; about a second each time.
        inhibited: rules that another one of this cause inhibits, so that no message follows.
    """

    what: str
    rules: tuple[str, ...]
    breaks: Act = lambda _: None
    mends: Act = lambda _: None
    goes_on: Act = lambda _: None
    inhibited: frozenset[str] = frozenset()


#: Rules without a cause here, with the reason.
NOT_PROVOKED = {
    "Watchdog": "it always fires; that it arrives is checked at the start",
    "DiskSpaceLow": "needs a file system of its own that node_exporter sees, and a full one",
    "HighMemoryUsage": "needs a service that leaks 400 MiB",
    "UnexpectedCostIncrease": "needs a thousand paid messages; the sandbox bills none",
    "ComplianceScoreLow": "its score depends on the controls that can be measured on this machine",
    "AvailabilityBudgetBurnSlow": "needs 0.3 % errors for a day; in a shorter run the fast one inhibits it",
    "DeliveryBudgetBurnSlow": "the same, for late messages",
}


def _events(number: int, chat: int = EVENTS) -> Act:
    def post(stack: Stack) -> None:
        body = [
            {"type": "custom_event", "title": f"Number {each}", "chat_id": chat} for each in range(number)
        ]
        stack.post("bridge", "/events", body)

    return post


def _in_turn(stack: Stack) -> None:
    """Posts events to three chats, and the next time to others: in one chat they would wait."""
    chats = [next(stack.slow_chats) for _ in range(3)]
    stack.post(
        "bridge", "/events", [{"type": "custom_event", "title": "Slow", "chat_id": chat} for chat in chats]
    )


def _pause(act: Act, seconds: float = 0.5) -> Act:
    def paused(stack: Stack) -> None:
        act(stack)
        time.sleep(seconds)

    return paused


def _stop(name: str) -> Act:
    return lambda stack: stack.programs[name].stop()


def _start(name: str) -> Act:
    return lambda stack: stack.programs[name].start()


def _wrong_keys(stack: Stack) -> None:
    for _ in range(20):
        stack.client.get(f"{stack.urls['dashboard']}/api/overview", headers={"Authorization": "Bearer wrong"})
        stack.client.post(
            f"{stack.urls['bridge']}/events", json={}, headers={"Authorization": "Bearer wrong"}
        )


def _fault(**fault: object) -> Act:
    return lambda stack: stack.fault(**fault)


def _fill(stack: Stack) -> None:
    """Fills the queue of a chat that fails."""
    stack.fault(kind="answer", status=500, methods=SENDS, chat_ids=[EVENTS])
    for _ in range(3):
        _events(400)(stack)


def _mend(stack: Stack) -> None:
    stack.mend()


def _lock(stack: Stack) -> None:
    """Holds the table that an accepted event is written to, and posts one meanwhile."""
    psql = [str(stack.postgres.programs / "psql"), "-qX", "-c", LOCK, stack.database]
    holder = subprocess.Popen(psql, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.2)
    _events(1)(stack)
    holder.wait(30)


LOCK = "begin; lock table event in access exclusive mode; select pg_sleep(1.8); commit"


def _connect(stack: Stack) -> None:
    psql = [str(stack.postgres.programs / "psql"), "-qX", "-c", "select pg_sleep(20)", stack.database]
    for _ in range(28):
        stack.helpers.append(subprocess.Popen(psql, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


def _disconnect(stack: Stack) -> None:
    for helper in stack.helpers:
        helper.terminate()
        helper.wait(10)
    stack.helpers.clear()


def _many_alerts(stack: Stack) -> None:
    alerts = [
        {"labels": {"alertname": f"Many{number}", "severity": "warning", "service": "test"}}
        for number in range(70)
    ]
    stack.fault(kind="answer", status=500, chat_ids=[BROKEN])
    stack.post("alertmanager", "/api/v2/alerts", alerts)


def _truncated(stack: Stack) -> None:
    """A webhook of an Alertmanager that alert-relay cannot read."""
    labels = {"alertname": "Truncated", "severity": "info", "service": "test"}
    now = time.time()
    alert = {"status": "firing", "labels": labels, "annotations": {}, "startsAt": rfc3339(now)}
    body = {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="Truncated{now}"}}',
        "truncatedAlerts": 3,
        "status": "firing",
        "receiver": "alert-relay",
        "groupLabels": {"alertname": "Truncated"},
        "commonLabels": labels,
        "commonAnnotations": {},
        "externalURL": "http://unknown.example:9093",
        "alerts": [alert | {"endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": "a" * 16}],
    }
    stack.post("alert-relay", "/webhook/alert", body)


def _refuse_spans(_: Stack) -> None:
    Collector.refuses = True


def _take_spans(_: Stack) -> None:
    Collector.refuses = False


def _give_archive(stack: Stack) -> None:
    archive = Path(stack.folder / "bridge" / "archive")
    archive.unlink()


def _block(stack: Stack) -> None:
    stack.client.post(f"{stack.urls['sandbox']}/control/chats/{BROKEN}/block").raise_for_status()


def _unblock(stack: Stack) -> None:
    stack.client.post(f"{stack.urls['sandbox']}/control/chats/{BROKEN}/unblock").raise_for_status()


def _failing_alert(stack: Stack) -> None:
    name = f"Blocked{int(time.time() * 10)}"
    alert = {"labels": {"alertname": name, "severity": "critical", "service": "test"}}
    stack.post("alertmanager", "/api/v2/alerts", [alert])
    time.sleep(1)


def _work(stack: Stack) -> None:
    """Searches for two seconds."""
    until = time.monotonic() + 2
    while time.monotonic() < until:
        _events(200)(stack)


#: The order: those that take longest to resolve do not come last.
CAUSES = (
    Cause(
        "PostgreSQL is stopped, and events are posted",
        ("DatabaseDown", "HighHTTPErrorRate", "AvailabilityBudgetBurnFast"),
        lambda stack: stack.stop_database(),
        lambda stack: stack.postgres.start(),
        _pause(_events(1), 0.2),
    ),
    Cause(
        "Telegram takes 6 s for a message",
        ("SlowResponseTime", "DeliveryBudgetBurnFast"),
        _fault(kind="latency", seconds=6, methods=SENDS, chat_ids=list(SLOW_CHATS)),
        _mend,
        _pause(_in_turn, 0.3),
    ),
    Cause(
        "Telegram answers 500 for the chat of 1,200 messages",
        (
            "ExternalAPIFailures",
            "MessagesStandStill",
            "MessagesLate",
            "HighQueueDepth",
            "MessageProcessingBacklog",
        ),
        _fill,
        _mend,
        _pause(_events(1)),
        frozenset({"MessagesLate", "HighQueueDepth"}),
    ),
    Cause(
        "Telegram refuses every message of a chat (400)",
        ("LowDeliveryRate", "HighErrorRate", "DeadLettersGrowing"),
        _fault(
            kind="answer",
            status=400,
            description="Bad Request: message is too long",
            methods=SENDS,
            chat_ids=[EVENTS],
        ),
        _mend,
        _pause(_events(5)),
    ),
    Cause(
        "Telegram takes messages and closes the connection without an answer",
        ("UnknownOutcomes",),
        _fault(kind="close", deliver=True, methods=SENDS, chat_ids=[EVENTS]),
        _mend,
        _pause(_events(10)),
    ),
    Cause("a service is stopped", ("CCTelegramDown",), _stop("dashboard"), _start("dashboard")),
    Cause("Redis is stopped", ("RedisDown",), _stop("redis"), _start("redis")),
    Cause("an exporter is stopped", ("TargetDown",), _stop("redis-exporter"), _start("redis-exporter")),
    Cause("28 more connections of 40", ("DatabaseConnectionHigh",), _connect, _disconnect),
    Cause("wrong keys", ("BruteForceAttempt", "SuspiciousActivity"), goes_on=_pause(_wrong_keys)),
    Cause("a lock holds the bridge's table", ("HighLatency",), goes_on=_lock),
    Cause("200 events at a time, without a pause", ("HighCPUUsage",), goes_on=_work),
    Cause("the OTLP receiver refuses", ("SpansLost",), _refuse_spans, _take_spans, _pause(_events(5))),
    # Before a chat refuses the bot: afterwards warnings are not tried there for five minutes.
    Cause("one chat of 70 alerts fails", ("NotificationBacklog",), _many_alerts, _mend),
    Cause(
        "one chat of the alerts blocks the bot",
        ("NotificationDeliveryFailing",),
        _block,
        _unblock,
        _failing_alert,
    ),
    Cause("an Alertmanager is stopped", ("AlertmanagerUnread",), _stop("lab"), _start("lab")),
    Cause(
        "a webhook leaves out alerts, and no API is known",
        ("TruncatedAlertsMissed",),
        goes_on=_pause(_truncated, 1),
    ),
    Cause(
        "Telegram answers getUpdates with 500",
        ("TelegramUpdatesStalled",),
        _fault(kind="answer", status=500, methods=["getUpdates"]),
        _mend,
    ),
    Cause("the archive is no folder, from the start", ("RetentionFailing",), mends=_give_archive),
)
