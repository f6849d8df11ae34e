"""``cct messages``, ``message``, ``cancel``, ``edit``, ``delete``, ``replay``, ``dead-letters`` ..."""

from collections.abc import Callable
from itertools import islice
from typing import Annotated

import typer

from services.cli import arguments, life, times
from services.cli.arguments import ALL, Conditions
from services.cli.command import command, root
from services.cli.exit_codes import ExitCode
from services.cli.session import Session, UsageError
from services.client.errors import ConflictError
from services.contracts.fields import Format
from services.contracts.messages import CancelReplayResult, MessageChanges
from services.contracts.tracking import Job

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="Largest number of messages.")]
#: Seconds that an edit waits for the message that it changes.
_LONGEST_WAIT = 60.0
#: The largest page of the API.
_PAGE = 500


@command(root, "messages", "cct messages --status dead_letter --since 2h")
def messages(
    session: Session,
    *,
    status: arguments.Status = None,
    campaign_id: Annotated[str | None, typer.Option(help="Campaign id.")] = None,
    conditions: Conditions = ALL,
    limit: Limit = 20,
) -> None:
    """Search messages, newest first; all conditions must match."""
    found = session.client.every_message(
        **conditions.of(session),
        status=arguments.states(status),
        campaign_id=campaign_id,
        limit=min(limit, _PAGE),
    )
    rows = list(islice(found, limit))
    if session.output.json:
        session.output.records(rows)
        return
    now = session.now
    session.output.table(
        ("message", "accepted", "state", "chat", "type", "title"),
        [(m.id, times.local(m.accepted_at, now), m.status, m.chat_id, m.type, m.title) for m in rows],
        empty="no message matches",
    )


@command(root, "message", 'cct message "$(cct send Hello)"')
def message(
    session: Session, message_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the message.")]
) -> None:
    """Show the life of a message: every state and every attempt, drawn over time."""
    found = session.client.message(message_id)
    if session.output.json:
        session.output.record(found)
        return
    for line in life.drawn(found, session.now):
        session.output.line(line)


Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of messages.")]


@command(root, "cancel", 'cct cancel "$(cct send Later --at 1h)" --why "sent by mistake"')
def cancel(session: Session, message_ids: Ids, why: arguments.Why = "") -> None:
    """Cancel messages that are not sent yet. The exit code is 1 if it is too late for one of them."""
    _each(session, message_ids, lambda message_id: session.client.cancel(message_id, reason=why))


@command(root, "edit", 'cct edit "$(cct send "Build 7 runs")" --title "Build 7 is green"')
def edit(
    session: Session,
    message_id: Annotated[str, typer.Argument(help="Id of a delivered message.")],
    *,
    title: Annotated[str | None, typer.Option(help="New first line.")] = None,
    text: Annotated[str | None, typer.Option(help="New text below it.")] = None,
    format_: Annotated[Format | None, typer.Option("--format", help="How the text is read.")] = None,
    button: Annotated[
        list[str] | None, typer.Option("--button", help="New buttons, as TEXT=URL or TEXT=DATA.")
    ] = None,
    no_buttons: Annotated[bool, typer.Option("--no-buttons", help="Take its buttons away.")] = False,
) -> None:
    """Change a message where it stands, once it is delivered; prints the id of the edit."""
    wanted = arguments.given(
        {"title": title, "description": text, "format": format_, "buttons": arguments.buttons(button)}
    )
    changes = MessageChanges.model_validate({**wanted, **({"buttons": None} if no_buttons else {})})
    session.client.ended([message_id], within=_LONGEST_WAIT)
    edited = session.client.edit(message_id, changes)
    session.output.result(edited, edited.message_id)


@command(root, "delete", 'cct delete "$(cct send "Sent by mistake")"')
def delete(
    session: Session,
    message_id: Annotated[str, typer.Argument(help="Id of a message.")],
) -> None:
    """Delete a message in the chat; one that waits is cancelled.

    Waits until Telegram has deleted it. The exit code is 1 if it refuses.
    """
    try:
        deleted = session.client.delete(message_id)
    except ConflictError:
        # It may be on its way.
        session.client.ended([message_id], within=_LONGEST_WAIT)
        deleted = session.client.delete(message_id)
    if deleted.message_id is None:
        session.output.result(deleted, "cancelled")
        return
    (ended,) = session.client.ended([deleted.message_id], within=_LONGEST_WAIT)
    session.output.result(deleted, deleted.message_id)
    if ended.status != "delivered":
        session.output.fail(f"{deleted.message_id}: {ended.status}: {ended.last_error}")
        raise typer.Exit(ExitCode.NO)


@command(root, "replay", 'cct replay --dead-letters --reason chat_not_found --why "the chat is back"')
def replay(
    session: Session,
    message_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="Ids of messages.", show_default=False)
    ] = None,
    *,
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="All dead letters that match, instead of ids.")
    ] = False,
    reason: arguments.Reasons = None,
    conditions: Conditions = ALL,
    why: arguments.Why = "",
) -> None:
    """Put undelivered messages back into the queue. The exit code is 1 if one of them cannot be replayed."""
    if bool(message_ids) is dead_letters:
        raise UsageError("give ids of messages, or --dead-letters for all that match")
    if dead_letters:
        _replay_all(
            session, session.client.replay_all(**conditions.of(session), reason=reason or (), why=why)
        )
    elif reason or conditions != ALL:
        raise UsageError("conditions are for --dead-letters; give ids alone, or conditions alone")
    else:
        _each(session, message_ids or [], lambda message_id: session.client.replay(message_id, reason=why))


def _replay_all(session: Session, started: Job) -> None:
    job = started
    with session.output.progress("Replaying") as bar:
        task = bar.add_task("", total=job.progress.total)
        for job in session.client.progress(started.id):
            bar.update(task, total=job.progress.total, completed=job.progress.passed)
    text = f"{job.progress.replayed} of {job.progress.total} messages replayed"
    session.output.result(job, text if job.status == "done" else f"{text}; the job {job.status}: {job.error}")
    if job.status != "done":
        raise typer.Exit(ExitCode.NO)


def _each(session: Session, message_ids: list[str], act: Callable[[str], CancelReplayResult]) -> None:
    done, refused = [], False
    for message_id in message_ids:
        try:
            done.append(act(message_id))
        except ConflictError as error:
            refused = True
            session.output.fail(f"{message_id}: {error}")
    if session.output.json:
        session.output.records(done)
    else:
        session.output.table(("message", "state"), [(each.message_id, each.state) for each in done])
    if refused:
        raise typer.Exit(ExitCode.NO)


@command(root, "dead-letters", "cct dead-letters --reason chat_not_found")
def dead_letters(
    session: Session,
    *,
    reason: arguments.Reasons = None,
    conditions: Conditions = ALL,
    limit: Limit = 20,
) -> None:
    """List messages that were given up, newest first, with the reason."""
    found = session.client.every_dead_letter(
        **conditions.of(session), reason=reason or (), limit=min(limit, _PAGE)
    )
    letters = list(islice(found, limit))
    if session.output.json:
        session.output.records(letters)
        return
    now = session.now
    session.output.table(
        ("message", "accepted", "chat", "reason", "Telegram's answer", "title"),
        [
            (m.id, times.local(m.accepted_at, now), m.chat_id, m.reason, m.detail or "", m.title)
            for m in letters
        ],
        empty="no dead letters",
    )
    if letters:
        session.output.note("To send them again: cct replay ID, or cct replay --dead-letters")


@command(root, "event-types", "cct event-types --category build")
def event_types(
    session: Session,
    category: Annotated[str | None, typer.Option(help="Only this category.")] = None,
) -> None:
    """List the event types."""
    found = session.client.event_types(category)
    if session.output.json:
        session.output.record(found)
    else:
        session.output.table(("type", "category"), [(e.type, e.category) for e in found.event_types])
