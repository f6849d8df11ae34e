"""``cct send``: posts an event, and waits until people have it if asked to."""

import sys
from typing import Annotated

import typer

from services.cli import arguments, attachments, times
from services.cli.arguments import IdempotencyKey
from services.cli.command import command, root
from services.cli.exit_codes import ExitCode
from services.cli.session import Session, UsageError
from services.contracts.events import NewEvent
from services.contracts.fields import Format, Priority, Severity
from services.contracts.times import seconds_of


@command(root, "send", 'cct send "Build finished" "All 214 tests pass" --severity low')
def send(
    session: Session,
    title: Annotated[str, typer.Argument(help="First line of the message.")],
    text: Annotated[str, typer.Argument(help="Text below it; - reads it from the input.")] = "",
    *,
    type_: arguments.Type = "info_notification",
    format_: Annotated[
        Format, typer.Option("--format", help="How TEXT is read; Telegram gets text and entities.")
    ] = Format.PLAIN,
    severity: Annotated[Severity | None, typer.Option(help="Severity.", show_default=False)] = None,
    priority: Annotated[Priority, typer.Option(help="Urgent messages go first.")] = Priority.NORMAL,
    chat: Annotated[
        list[str] | None,
        typer.Option("--chat", help="Chat: id, @username or name; may be repeated. Default: by the routes."),
    ] = None,
    thread: Annotated[int | None, typer.Option("--thread", help="Topic of the chat.")] = None,
    bot: arguments.Bot = None,
    source: Annotated[str, typer.Option(help="Name of the program that sends.")] = "",
    silent: Annotated[bool, typer.Option("--silent", help="Make no sound.")] = False,
    preview: Annotated[
        str | None, typer.Option("--preview", help="Preview of a link: its URL, yes or no.")
    ] = None,
    protect: Annotated[bool, typer.Option("--protect", help="People cannot forward or save it.")] = False,
    reply_to: Annotated[
        str | None, typer.Option("--reply-to", help="Message or event that it answers.")
    ] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Pin it in the chat.")] = False,
    button: Annotated[
        list[str] | None,
        typer.Option("--button", help="Button below it, as TEXT=URL or TEXT=DATA; may be repeated."),
    ] = None,
    attach: Annotated[
        list[str] | None,
        typer.Option("--attach", help="File, or URL of a file, below the text; may be repeated."),
    ] = None,
    at: Annotated[str | None, typer.Option("--at", help="Deliver at: 2h, 2026-01-31T08:00.")] = None,
    expires: Annotated[str | None, typer.Option("--expires", help="Do not deliver after: 2h.")] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", help="Detail as NAME=VALUE; may be repeated.")
    ] = None,
    update_key: Annotated[
        str | None, typer.Option(help="A later event with the same key edits this message.")
    ] = None,
    dedup_key: Annotated[
        str | None, typer.Option(help="Repeats with the same key are counted at the first message.")
    ] = None,
    dedup_window: Annotated[str | None, typer.Option(help="How long they are counted: 10m.")] = None,
    digest: Annotated[
        str | None, typer.Option("--digest", help="Events with the same key become one message.")
    ] = None,
    digest_window: Annotated[
        str | None, typer.Option(help="How long they are collected. [15m]", show_default=False)
    ] = None,
    correlation_id: arguments.Correlation = None,
    idempotency_key: IdempotencyKey = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is delivered.")] = False,
    timeout: Annotated[str, typer.Option(help="Longest wait.")] = "60s",
) -> None:
    """Post an event; prints the id of each message, for `cct message ID`.

    With --wait the exit code is 0 if all were delivered, 1 if one was not, 2 if the time is over.
    """
    wanted = arguments.given(
        {
            "type": type_,
            "description": _text(text),
            "format": format_,
            "severity": severity,
            "priority": priority,
            "chat_id": chat,
            "thread_id": thread,
            "bot": bot,
            "source": source,
            "silent": silent,
            "link_preview": {"yes": True, "no": False}.get(preview, preview) if preview else None,
            "protect_content": protect,
            "reply_to": reply_to,
            "pin": pin,
            "buttons": arguments.buttons(button),
            "attachments": attachments.uploaded(session, attach),
            "deliver_at": arguments.read("--at", at, lambda text: times.later(text, session.now)),
            "expires_at": arguments.read("--expires", expires, lambda text: times.later(text, session.now)),
            "data": arguments.data(data),
            "update_key": update_key,
            "dedup_key": dedup_key,
            "dedup_window": arguments.read("--dedup-window", dedup_window, seconds_of),
            "digest_key": digest,
            "digest_window": arguments.read("--digest-window", digest_window, seconds_of),
            "correlation_id": correlation_id,
        }
    )
    event = NewEvent.model_validate({"title": title, **wanted})
    within = arguments.read("--timeout", timeout, seconds_of)
    accepted = session.client.send(event, key=idempotency_key)
    if wait:
        _wait(session, accepted.message_ids, within)
    elif session.output.json:
        session.output.record(accepted)
    else:
        if accepted.status == "deduplicated":
            session.output.note(f"Not sent: it is repeat {accepted.repeats} of this message.")
        for message_id in accepted.message_ids:
            session.output.line(message_id)
        if not accepted.message_ids:
            session.output.note("No chat gets it: set TELEGRAM_CHAT_IDS, a route, or --chat.")


def _text(text: str) -> str:
    if text != "-":
        return text
    if sys.stdin.isatty():
        raise UsageError("TEXT: - reads the text from a pipe: make test | cct send Tests -")
    return sys.stdin.read().strip()


def _wait(session: Session, message_ids: list[str], within: float | None) -> None:
    messages = session.client.ended(message_ids, within=within)
    if session.output.json:
        session.output.records(messages)
    else:
        rows = [
            (each.id, each.status, each.chat_id, "" if each.status == "delivered" else each.last_error or "")
            for each in messages
        ]
        session.output.table(("message", "state", "chat", "reason"), rows)
    if any(message.finished_at is None for message in messages):
        raise typer.Exit(ExitCode.NO_RESULT)
    if any(message.status != "delivered" for message in messages):
        raise typer.Exit(ExitCode.NO)
