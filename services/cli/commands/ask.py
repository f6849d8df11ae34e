"""``cct ask``: asks people a question and waits; the exit code is the answer."""

from typing import Annotated

import typer

from services.cli import arguments, times
from services.cli.arguments import IdempotencyKey
from services.cli.command import command, root
from services.cli.exit_codes import ExitCode
from services.cli.session import Session
from services.contracts.approvals import ApprovalView, Decision, NewApproval
from services.contracts.fields import Severity
from services.contracts.times import seconds_of


@command(root, "ask", 'cct ask "Deploy 2.1?" "make deploy V=2.1" --expires 10m && make deploy')
def ask(
    session: Session,
    title: Annotated[str, typer.Argument(help="The question.")],
    text: Annotated[str, typer.Argument(help="What exactly is to be decided.")] = "",
    *,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-o", help="An answer; may be repeated. The first one means yes. [Approve, Deny]"
        ),
    ] = None,
    own_words: Annotated[
        bool, typer.Option("--text", help="People answer with a text in their own words, and it is printed.")
    ] = False,
    max_length: Annotated[
        int | None, typer.Option(help="Longest text, in characters. [1000]", show_default=False)
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", help="It ends after: 10m. Default: set by the bridge."),
    ] = None,
    chat: Annotated[
        list[str] | None,
        typer.Option(
            "--chat", help="Chat: id, @username or name; may be repeated. Default: the default ones."
        ),
    ] = None,
    approver: Annotated[
        list[int] | None, typer.Option("--approver", help="User id of a person who may decide.")
    ] = None,
    needed: Annotated[
        int | None,
        typer.Option("--needed", help="So many people must choose the first answer. [1]", show_default=False),
    ] = None,
    remind: Annotated[
        str | None, typer.Option("--remind", help="Ask again after each: 10m, without an answer.")
    ] = None,
    remind_times: Annotated[int | None, typer.Option(help="How often. [3]", show_default=False)] = None,
    escalate: Annotated[
        list[int] | None, typer.Option("--escalate", help="User id of a person to ask then; may be repeated.")
    ] = None,
    escalate_after: Annotated[
        str | None, typer.Option(help="Ask them after: 30m, without an answer.")
    ] = None,
    thread: Annotated[int | None, typer.Option("--thread", help="Topic of the chat.")] = None,
    bot: arguments.Bot = None,
    source: Annotated[str, typer.Option(help="Name of the program that asks.")] = "",
    severity: Annotated[Severity, typer.Option(help="Importance.")] = Severity.HIGH,
    correlation_id: arguments.Correlation = None,
    idempotency_key: IdempotencyKey = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the answer, or print the id.")
    ] = True,
) -> None:
    """Ask people, wait, and print the answer.

    The exit code is 0 for the first option or a text, 1 for another one, 2 if there is no answer: the
    question expired, was cancelled, or reached no chat. Waiting goes on while the bridge restarts.
    """
    wanted = arguments.given(
        {
            "chat_id": chat,
            "approvers": approver,
            "needed": needed,
            "thread_id": thread,
            "bot": bot,
            "source": source,
            "severity": severity,
            "correlation_id": correlation_id,
            "expires_in": arguments.read("--expires", expires, seconds_of),
            "options": option,
            "answer": "text" if own_words else None,
            "max_length": max_length,
            "remind_every": arguments.read("--remind", remind, seconds_of),
            "remind_times": remind_times,
            "escalate_to": escalate,
            "escalate_after": arguments.read("--escalate-after", escalate_after, seconds_of),
        }
    )
    asked = session.client.ask(
        NewApproval.model_validate({"title": title, "prompt": text or title, **wanted}), key=idempotency_key
    )
    if not wait:
        session.output.result(asked, asked.id)
        return
    session.output.note(f"Asked {asked.id}; it expires at {times.local(asked.expires_at, session.now)}.")
    closed = session.client.answer(asked.id)
    _print(session, closed)
    raise typer.Exit(code_of(closed))


def _print(session: Session, closed: ApprovalView) -> None:
    if session.output.json:
        session.output.record(closed)
    elif closed.decision is not None:
        session.output.line(closed.decision.text or closed.decision.option or "")
        session.output.note(f"Decided by {_deciders(closed.decision, closed)}")
    else:
        session.output.line(closed.status)
        if closed.reason:
            session.output.note(f"Reason: {closed.reason}")
        for message in closed.messages:
            if closed.status == "undelivered" and message.last_error:
                session.output.note(f"Chat {message.chat_id} does not show it: {message.last_error}")


def _deciders(decision: Decision, closed: ApprovalView) -> str:
    """Who decided, and the comment: all who chose the first option, if that was needed."""
    names = [one.name for one in closed.approved_by] if code_of(closed) is ExitCode.DONE else []
    comment = f": {decision.comment}" if decision.comment else ""
    return f"{', '.join(names) or decision.by}{comment}"


def code_of(closed: ApprovalView) -> ExitCode:
    """The exit code for a question that is closed."""
    if closed.decision is None:
        return ExitCode.NO_RESULT
    yes = closed.answer == "text" or closed.decision.option == closed.options[0].value
    return ExitCode.DONE if yes else ExitCode.NO
