"""``cct test``: a test message to a chat, and whether it arrived."""

from typing import Annotated

import typer

from services.cli import arguments
from services.cli.command import command, root
from services.cli.exit_codes import ExitCode
from services.cli.session import Session
from services.contracts.events import NewEvent
from services.contracts.messages import MessageDetail
from services.contracts.times import seconds_of


@command(root, "test", "cct test --chat 1001")
def send_test_message(
    session: Session,
    *,
    chat: Annotated[
        str | None, typer.Option("--chat", help="Chat: id, @username or name. Default: by the routes.")
    ] = None,
    bot: arguments.Bot = None,
    timeout: Annotated[str, typer.Option(help="Longest wait.")] = "60s",
) -> None:
    """Send a test message, and wait until it is delivered.

    The exit code is 0 if every chat got it, 1 if one did not, 2 if the time is over.
    """
    within = arguments.read("--timeout", timeout, seconds_of)
    named = arguments.given({"chat_id": chat, "bot": bot})
    event = {"type": "info_notification", "title": "Test message", "description": _TEXT, "source": "cct test"}
    accepted = session.client.send(NewEvent.model_validate(event | named))
    messages = session.client.ended(accepted.message_ids, within=within)
    if session.output.json:
        session.output.records(messages)
    else:
        for message in messages:
            session.output.line(_result(message))
    if any(message.finished_at is None for message in messages):
        raise typer.Exit(ExitCode.NO_RESULT)
    if any(message.status != "delivered" for message in messages):
        raise typer.Exit(ExitCode.NO)


_TEXT = "Messages of CCTelegram arrive in this chat."


def _result(message: MessageDetail) -> str:
    if message.status == "delivered":
        return f"Chat {message.chat_id} has it."
    reason = f": {message.last_error}" if message.last_error else ""
    return f"Chat {message.chat_id}: {message.status}{reason}; see cct message {message.id}"
