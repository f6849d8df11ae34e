"""``cct routes``: who gets events that name no chat."""

from collections.abc import Sequence
from typing import Annotated

import typer

from services.cli import arguments
from services.cli.command import command, group
from services.cli.exit_codes import ExitCode
from services.cli.session import Session
from services.contracts.events import NewEvent
from services.contracts.fields import Severity
from services.contracts.routes import RuleDocument, TargetDocument

routes = group("routes", "Show routes, and try them without sending.")


@command(routes, "list", "cct routes list")
def list_(session: Session) -> None:
    """List the routes in force, in the order of evaluation."""
    found = session.client.routes()
    if session.output.json:
        session.output.record(found)
        return
    session.output.table(
        ("route", "matches", "chats", ""),
        [(rule.name, _conditions(rule), _targets(rule), "continue" * rule.goes_on) for rule in found.routes],
        empty="no routes: events that name no chat go to TELEGRAM_CHAT_IDS",
    )
    if found.error:
        session.output.fail(f"the changed ROUTES_FILE is not in force: {found.error}")
        raise typer.Exit(ExitCode.NO)


def _conditions(rule: RuleDocument) -> str:
    named: dict[str, Sequence[str]] = {
        "type": rule.type,
        "category": rule.category,
        "severity": rule.severity,
        "source": rule.source,
        "project": rule.project,
    }
    found = [f"{name} {', '.join(values)}" for name, values in named.items() if values]
    return "; ".join(found) or "everything"


def _targets(rule: RuleDocument) -> str:
    return ", ".join(_target(target) for target in rule.to)


def _target(target: TargetDocument) -> str:
    more = [f"topic {target.thread_id}"] if target.thread_id else []
    more += ["silent"] if target.silent else []
    more += [f"bot {target.bot}"] if target.bot else []
    return f"{target.chat_id} ({', '.join(more)})" if more else str(target.chat_id)


@command(routes, "test", "cct routes test --type build_failed --severity high --source ci")
def show_recipients(
    session: Session,
    *,
    type_: arguments.Type = "info_notification",
    severity: Annotated[Severity | None, typer.Option(help="Severity.", show_default=False)] = None,
    source: Annotated[str, typer.Option(help="Name of the program that sends.")] = "",
    project: Annotated[str | None, typer.Option(help="Its data.metadata.project.")] = None,
    bot: arguments.Bot = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", help="Detail as NAME=VALUE; may be repeated.")
    ] = None,
) -> None:
    """Show who would get an event, and by which route. The exit code is 1 if it is nobody."""
    details = arguments.data(data) | ({"metadata": {"project": project}} if project else {})
    wanted = arguments.given(
        {
            "type": type_,
            "title": "A test of the routes",
            "severity": severity,
            "source": source,
            "bot": bot,
            "data": details,
        }
    )
    found = session.client.recipients(NewEvent.model_validate(wanted))
    if session.output.json:
        session.output.record(found)
    else:
        session.output.table(
            ("chat", "topic", "bot", "sound", "by"),
            [
                (
                    each.chat_id,
                    each.thread_id or "",
                    each.bot,
                    "silent" if each.silent else "",
                    each.rule or found.by,
                )
                for each in found.recipients
            ],
            empty="no chat gets it",
        )
    if not found.recipients:
        raise typer.Exit(ExitCode.NO)
