"""``cct watch``: follows changes live, over restarts of the bridge."""

from contextlib import closing
from typing import Annotated

import typer
from rich.text import Text

from services.cli import arguments, times
from services.cli.command import command, root
from services.cli.output import clean, style
from services.cli.session import Session
from services.client.stream import StreamItem
from services.contracts.tracking import StreamChange


@command(root, "watch", "cct watch --status delivered --status dead_letter")
def watch(
    session: Session,
    *,
    status: arguments.Status = None,
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", help="Event type; may be repeated.", autocompletion=arguments.types),
    ] = None,
    chat: arguments.Chat = None,
    bot: arguments.Bot = None,
    correlation_id: arguments.Correlation = None,
    after: Annotated[str | None, typer.Option(help="Continue after this id of an earlier run.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many changes.")] = None,
) -> None:
    """Follow every change of a message's state, live; Ctrl-C ends it.

    It connects again when the bridge restarts, and misses nothing. With --json each change is one line.
    """
    stream = session.client.stream(
        status=arguments.states(status),
        type=type_ or (),
        chat_id=arguments.chat_id(session, chat, bot),
        bot=bot,
        correlation_id=correlation_id,
        after=after,
    )
    shown = 0
    with closing(stream):
        for item in stream:
            _show(session, item)
            shown += item.change is not None
            if shown == count:
                return


def _show(session: Session, item: StreamItem) -> None:
    if item.change is None:
        if item.approval is not None:
            session.output.note(
                f"{item.approval.status}: {item.approval.title} ({item.approval.approval_id})"
            )
        elif item.detail:
            session.output.note(f"{item.kind}: {item.detail}")
    elif session.output.json:
        session.output.json_line({**item.change.model_dump(mode="json"), "id": item.id})
    else:
        session.output.line(_line(session, item.change))


def _line(session: Session, change: StreamChange) -> Text:
    moment = times.local(change.at, session.now)
    if not session.output.for_people:
        cells = (change.at, change.status, change.chat_id, change.message_id, change.title)
        return Text("\t".join(map(clean, cells)))
    return Text.assemble(
        (f"{moment}  ", "dim"),
        (f"{change.status:<12}", style(change.status)),
        f"{change.chat_id:>15}  {clean(change.title)}  ",
        (change.message_id, "dim"),
    )
