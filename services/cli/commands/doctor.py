"""``cct doctor``: what is set up, what is wrong, and what to do."""

import stat
from collections.abc import Callable, Iterator
from typing import TypeVar

import typer
from rich.text import Text

from services.cli import findings
from services.cli.command import command, root
from services.cli.exit_codes import ExitCode
from services.cli.findings import Finding, Verdict
from services.cli.output import clean, style
from services.cli.session import Session
from services.client import Client
from services.client.call import Service
from services.client.errors import ClientError, ConfigurationError, ForbiddenError
from services.client.settings import ClientSettings
from services.client.sources import configuration_path
from services.contracts.events import NewEvent
from services.contracts.health import HealthReport

T = TypeVar("T")

_MARKS = {Verdict.OK: "✓", Verdict.NOTE: "•", Verdict.WARNING: "!", Verdict.WRONG: "✗"}
_EVENT = NewEvent(type="info_notification", title="A test of the routes")


@command(root, "doctor", "cct doctor")
def doctor(session: Session) -> None:
    """Check the whole installation: what is set up, what is wrong, what to do.

    The exit code is 1 if something is wrong.
    """
    found = []
    for finding in _findings(session):
        found.append(finding)
        if not session.output.json:
            _print(session, finding)
    if session.output.json:
        session.output.records(
            {"name": each.name, "verdict": each.verdict, "text": each.text, "remedy": each.remedy}
            for each in found
        )
    if any(each.verdict is Verdict.WRONG for each in found):
        raise typer.Exit(ExitCode.NO)


def _print(session: Session, finding: Finding) -> None:
    text, remedy = clean(finding.text), clean(finding.remedy)
    if not session.output.for_people:
        session.output.line(f"{finding.verdict}\t{finding.name}\t{text}\t{remedy}")
        return
    mark = (f"{_MARKS[finding.verdict]} ", style(finding.verdict))
    session.output.line(Text.assemble(mark, (f"{finding.name:<14} ", "bold"), text))
    if remedy:
        session.output.line(Text(f"{'':<17}→ {remedy}", style(finding.verdict)))


def _findings(session: Session) -> Iterator[Finding]:
    connection = session.connection
    url = connection.urls[Service.BRIDGE]
    yield from _configuration()
    with session.connect(patience=0) as client:
        try:
            report = client.health()
        except ClientError as error:
            yield Finding(
                "bridge",
                Verdict.WRONG,
                f"{error} (the URL is from {connection.url_from})",
                "start it (make run, or docker compose up), or give its URL: --url, CCT_URL or config.toml",
            )
            return
        yield Finding("bridge", Verdict.OK, f"{url} answers (the URL is from {connection.url_from})")
        yield from _key(session, client)
        yield from findings.telegram(report.components)
        yield from _with_key(client, report)
        yield from findings.components(report)
        yield from _others(client)


def _configuration() -> Iterator[Finding]:
    path = configuration_path(ClientSettings())
    if path is not None and path.is_file():
        others = stat.S_IMODE(path.stat().st_mode) & 0o077
        if others:
            yield Finding(
                "configuration", Verdict.WARNING, f"other users may read {path}", f"chmod 600 {path}"
            )
        else:
            yield Finding("configuration", Verdict.OK, str(path))


def _key(session: Session, client: Client) -> Iterator[Finding]:
    connection = session.connection
    if connection.key is None:
        yield Finding(
            "key", Verdict.WRONG, f"there is none: {connection.key_from}", "give one: --key or CCT_API_KEY"
        )
        return
    try:
        yield findings.key(client.own_key())
    except ClientError as error:
        yield Finding(
            "key", Verdict.WRONG, f"{error} The key is from {connection.key_from}.", "cct keys create NAME"
        )


def _with_key(client: Client, report: HealthReport) -> Iterator[Finding]:
    """What needs the key; without its scope it stays unknown, which is no fault."""
    trial = _read("chats", lambda: client.recipients(_EVENT))
    yield trial if isinstance(trial, Finding) else findings.chats(trial)
    bots = _read("people", client.bots)
    if isinstance(bots, Finding):
        yield bots
    else:
        yield from findings.people(bots)
    stats = _read("statistics", client.stats)
    if isinstance(stats, Finding):
        yield stats
        yield from findings.queue(report, None)
    else:
        yield from findings.queue(report, stats)


def _read(name: str, call: Callable[[], T]) -> T | Finding:
    try:
        return call()
    except ForbiddenError as error:
        return Finding(name, Verdict.NOTE, f"not known: the key lacks the scope {error.scope}")
    except ClientError as error:
        return Finding(name, Verdict.NOTE, f"not known: {error}")


def _others(client: Client) -> Iterator[Finding]:
    for service in (Service.ALERT_RELAY, Service.DASHBOARD, Service.MCP_HEALTH):
        yield _service(client, service)
    checks = _read("monitoring", client.checks)
    if not isinstance(checks, Finding):
        yield from findings.neighbours(checks.checks)


def _service(client: Client, service: Service) -> Finding:
    name = service.replace("_", "-")
    try:
        report = client.health(service)
    except ConfigurationError as error:
        return Finding(name, Verdict.NOTE, str(error))
    except ClientError as error:
        return Finding(name, Verdict.WARNING, str(error), "start it, or set its URL")
    bad = report.status in ("unhealthy", "critical")
    verdict = Verdict.WRONG if bad else Verdict.WARNING if report.status == "degraded" else Verdict.OK
    return Finding(name, verdict, findings.in_words(report))
