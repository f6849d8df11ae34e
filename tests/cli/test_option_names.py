"""Errors name what was typed, without a suite."""

import pytest
import typer.main

from services.cli import app, option_names
from services.cli.command import root
from services.client.errors import FieldError

OPTIONS = {"--chat", "--data", "--reply-to", "--button"}


@pytest.mark.parametrize(
    ("loc", "line"),
    [
        ((), "it is wrong"),
        (("title",), "title: it is wrong"),
        (("body", "reply_to"), "--reply-to: it is wrong"),
        (("path", "chat_id"), "--chat: it is wrong"),
        (("chat_id", 1), "--chat (value 2): it is wrong"),
        (("data", "commit_hash"), "--data commit_hash: it is wrong"),
        (("buttons", 0, 0, "text"), "--button (value 1) text: it is wrong"),
        # No option of the command gave these.
        (("attachments", 0, "file_id"), "attachments.0.file_id: it is wrong"),
        (("query", "limit"), "limit: it is wrong"),
    ],
)
def test_a_line_names_the_option_that_became_the_field(loc: tuple[str | int, ...], line: str) -> None:
    assert option_names.readable(FieldError(loc, "it is wrong"), OPTIONS) == line


def test_every_option_that_is_listed_is_one_of_a_command() -> None:
    assert app.COMMANDS
    commands = [typer.main.get_command(root)]
    found: set[str] = set()
    while commands:
        command = commands.pop()
        commands += getattr(command, "commands", {}).values()
        found |= {name for parameter in command.params for name in parameter.opts}
    listed = {name for names in option_names._OPTIONS.values() for name in names}
    assert listed <= found
