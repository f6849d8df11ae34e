"""``cct templates``: the operator's own texts, and what people would get of an event."""

from typing import Annotated

import typer

from services.cli import arguments
from services.cli.command import command, group
from services.cli.exit_codes import ExitCode
from services.cli.session import Session
from services.contracts.events import NewEvent
from services.contracts.fields import Severity

templates = group("templates", "Show templates, and the text of an event without sending it.")


@command(templates, "list", "cct templates list")
def list_(session: Session) -> None:
    """List the templates in use. The exit code is 1 if a changed one is not, because it is invalid."""
    found = session.client.templates()
    if session.output.json:
        session.output.record(found)
    else:
        rows = [(name,) for name in found.names]
        session.output.table(("template",), rows, empty="no templates: all texts are built in")
    if found.error:
        session.output.fail(f"the changed templates are not in use: {found.error}")
        raise typer.Exit(ExitCode.NO)


@command(templates, "preview", 'cct templates preview "Build failed" --type build_failed --severity high')
def preview(
    session: Session,
    title: Annotated[str, typer.Argument(help="Title of the event.")],
    text: Annotated[str, typer.Argument(help="Its description.")] = "",
    *,
    type_: arguments.Type = "info_notification",
    severity: Annotated[Severity | None, typer.Option(help="Severity.", show_default=False)] = None,
    source: Annotated[str, typer.Option(help="Name of the program that sends.")] = "",
    data: Annotated[
        list[str] | None, typer.Option("--data", help="Detail as NAME=VALUE; may be repeated.")
    ] = None,
) -> None:
    """Show what people would get of an event. The exit code is 1 if its template fails."""
    wanted = arguments.given(
        {
            "type": type_,
            "description": text,
            "severity": severity,
            "source": source,
            "data": arguments.data(data),
        }
    )
    found = session.client.preview(NewEvent.model_validate({"title": title, **wanted}))
    if session.output.json:
        session.output.record(found)
    else:
        for part in found.parts:
            session.output.line(f"[{part.file}]\n{part.text}" if part.file else part.text)
        session.output.note(f"Template: {found.template or 'the built-in text'}")
    if found.error:
        session.output.fail(f"the template fails for this event: {found.error}")
        raise typer.Exit(ExitCode.NO)
