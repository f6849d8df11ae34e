"""Health reports in words: what works, what does not, and what to do about it. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from services.contracts.chats import Bots
from services.contracts.health import CheckRow, ComponentHealth, HealthReport
from services.contracts.keys import KeyView, Scope
from services.contracts.messages import Stats
from services.contracts.routes import TrialResult


class Verdict(StrEnum):
    OK = "ok"
    NOTE = "note"  #: not set up, or only worth knowing
    WARNING = "warning"  #: works, but needs attention
    WRONG = "wrong"  #: does not work


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: of the thing.
        verdict: how it is.
        text: what was found.
        remedy: what to do; empty if there is nothing to do.
    """

    name: str
    verdict: Verdict
    text: str
    remedy: str = ""


#: Why Telegram does not take the bot's calls: what it means, and what to do.
TELEGRAM: Mapping[str, tuple[str, str]] = {
    "invalid_token": (
        "Telegram refuses the bot's token (401)",
        "take the token from @BotFather, set TELEGRAM_BOT_TOKEN and start again; nothing accepted is lost",
    ),
    "bot_frozen": ("Telegram has frozen the bot", "ask @BotFather for the reason"),
    "connect_failed": (
        "Telegram is not reached",
        "check the network; behind a firewall set TELEGRAM_PROXY_URL",
    ),
    "no_answer": ("Telegram does not answer", "check the network; it is tried again by itself"),
    "server_error": ("Telegram has an error of its own", "wait; it is tried again by itself"),
    "flood_control": ("Telegram asks the bot to wait", "wait; it goes on by itself"),
    "bad_answer": (
        "another program answers in Telegram's place",
        "check TELEGRAM_API_URL and the proxy",
    ),
}
_VERDICTS: Mapping[str, Verdict] = {
    "healthy": Verdict.OK,
    "unknown": Verdict.NOTE,
    "degraded": Verdict.WARNING,
    "unhealthy": Verdict.WRONG,
    "critical": Verdict.WRONG,
}
#: Components that have a finding of their own.
_ELSEWHERE = ("telegram_api", "telegram:", "message_queue")


def telegram(health: Mapping[str, ComponentHealth]) -> Iterator[Finding]:
    """Each bot: its name, or why Telegram refuses it.

    Args:
        health: components of the bridge, by name.
    """
    for name, component in health.items():
        if name == "telegram_api" or name.startswith("telegram:"):
            bot = name.partition(":")[2]
            yield _bot(f"bot {bot}" if bot else "bot", component)


def _bot(name: str, component: ComponentHealth) -> Finding:
    error = component.measured.get("error")
    if error is not None:
        text, remedy = TELEGRAM.get(str(error), (str(error), "see the log of the bridge"))
        return Finding(name, Verdict.WRONG, text, remedy)
    if component.last_check is None:
        return Finding(name, Verdict.NOTE, "not checked yet", "ask again in some seconds")
    username = str(component.measured.get("bot", "its name is not known"))
    if username.startswith("@sandbox_"):
        return Finding(
            name,
            Verdict.NOTE,
            f"{username}: the sandbox takes Telegram's place",
            "to reach people set TELEGRAM_BOT_TOKEN, or run cct setup (in a clone: ./cct setup)",
        )
    return Finding(name, _VERDICTS[component.status], username)


def components(report: HealthReport) -> Iterator[Finding]:
    """The other components that are not as they should be."""
    for name, component in report.components.items():
        verdict = _VERDICTS[component.status]
        if not name.startswith(_ELSEWHERE) and verdict in (Verdict.WARNING, Verdict.WRONG):
            yield Finding(name, verdict, f"{component.status}: {measured(component.measured)}", _RUNBOOK)


_RUNBOOK = "see docs/runbook.md and the log"


def measured(values: Mapping[str, Any]) -> str:
    """The reason if there is one, else all measured values."""
    for name in ("error", "reason", "failure"):
        if values.get(name):
            return str(values[name])
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "no details"


def queue(report: HealthReport, stats: Stats | None) -> Iterator[Finding]:
    """The queue, and the messages that were given up."""
    component = report.components.get("message_queue")
    if component is not None:
        depth = component.measured.get("queue_depth")
        age = component.measured.get("oldest_message_age_seconds", 0)
        text = "not measured yet" if depth is None else f"waiting messages: {depth}"
        text += f", the oldest for {age} s" if age else ""
        slow = component.status == "degraded"
        remedy = "see why: cct messages --status queued --status retry_wait" if slow else ""
        yield Finding("queue", _VERDICTS[component.status], text, remedy)
    dead = (stats.queue or {}).get("dead_letter", 0) if stats is not None else 0
    if dead:
        yield Finding(
            "dead letters", Verdict.WARNING, f"messages given up: {dead}", "see why: cct dead-letters"
        )


def key(found: KeyView) -> Finding:
    """What the key may do."""
    missing = [scope.value for scope in Scope if scope not in found.scopes]
    text = f"{found.name}: {'all scopes' if not missing else ' '.join(found.scopes)}"
    remedy = f"it lacks {' '.join(missing)}" if missing else ""
    return Finding("key", Verdict.OK if not missing else Verdict.NOTE, text, remedy)


def chats(trial: TrialResult) -> Finding:
    """Who gets an event that names no chat."""
    if not trial.recipients:
        return Finding(
            "chats",
            Verdict.WRONG,
            "no chat gets an event that names none",
            "choose the first chat as the log of the bridge shows, or set TELEGRAM_CHAT_IDS",
        )
    named = ", ".join(str(each.chat_id) for each in trial.recipients)
    return Finding("chats", Verdict.OK, f"events that name no chat go to {named}")


def people(bots: Bots) -> Iterator[Finding]:
    """Bots that no person may use."""
    for bot in bots.items:
        # Without a chat the first one is still to be chosen, and its person with it.
        if not bot.people and bot.chat_ids:
            yield Finding(
                f"people of {bot.name}",
                Verdict.WARNING,
                "no person may answer questions or use commands",
                "set TELEGRAM_ALLOWED_USERS; the bot shows the id of who writes to it",
            )


def neighbours(checks: Iterable[CheckRow]) -> Iterator[Finding]:
    """Prometheus, Alertmanager, Grafana and Jaeger: configured or not, and how they are."""
    for check in checks:
        if check.id not in ("prometheus", "alertmanager", "grafana", "jaeger"):
            continue
        reason = str(check.evidence.get("reason", ""))
        if reason.startswith("not configured"):
            yield Finding(check.name, Verdict.NOTE, reason)
        else:
            text = "works" if check.status == "healthy" else f"{check.status}: {measured(check.evidence)}"
            verdict = Verdict.WARNING if check.status == "unhealthy" else _VERDICTS[check.status]
            yield Finding(check.name, verdict, text)


def in_words(report: HealthReport) -> str:
    """A report in one sentence: the components that decide it."""
    if report.status == "healthy":
        return "works"
    worst = [
        f"{name}: {_meaning(component)}"
        for name, component in report.components.items()
        if component.status == report.status and component.status != "unknown"
    ]
    return "; ".join(worst) or "nothing was measured yet"


def _meaning(component: ComponentHealth) -> str:
    error = str(component.measured.get("error", ""))
    return TELEGRAM[error][0] if error in TELEGRAM else measured(component.measured)
