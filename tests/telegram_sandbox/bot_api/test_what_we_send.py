"""The table of what this project sends, in the docstring of the sandbox's Bot API, is complete."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.outbox.messages import (
    Album,
    Document,
    Media,
    MediaKind,
    Part,
    Rendered,
    SendOptions,
    Text,
)
from services.outbox.telegram.sender import PAID_METHODS, request_of
from services.telegram_sandbox import bot_api
from services.telegram_sandbox.bot_api.methods import METHODS
from tests.outbox.making import claimed

SERVICES = Path(__file__).parents[3] / "services"
METHOD = re.compile(r"(?:send|edit|get|set|delete|answer|pin)[A-Z]\w+")
OPTIONS = SendOptions({"is_disabled": True}, protected=True, pinned=True)
BOLD = Text("hello", ({"type": "bold", "offset": 0, "length": 5},))


def media(kind: MediaKind) -> Media:
    return Media(kind, "f", "f.bin", 1, "a/b", BOLD, spoiler=True)


def table() -> dict[str, str]:
    """The table's text of each method."""
    rows = re.split(rf"^(?=(?:{'|'.join(METHODS)})\b)", bot_api.__doc__ or "", flags=re.MULTILINE)[1:]
    found: dict[str, str] = {}
    for row in rows:
        head = re.match(rf"(?:(?:{'|'.join(METHODS)})(?:, )?)+", row)
        assert head is not None
        found |= dict.fromkeys(head[0].split(", "), row)
    return found


def strings() -> Iterator[str]:
    for file in SERVICES.rglob("*.py"):
        if "telegram_sandbox" not in file.parts and "node_modules" not in file.parts:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def literal_calls() -> Iterator[tuple[str, set[str]]]:
    """Calls with a method's name and a dict of its parameters."""
    for file in SERVICES.rglob("*.py"):
        if "node_modules" not in file.parts:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(args=[ast.Constant(value=str(method)), ast.Dict(keys=keys), *_]):
                        if method in METHODS:
                            yield method, {str(key.value) for key in keys if isinstance(key, ast.Constant)}
                    case _:
                        pass


def test_every_method_that_this_project_sends_is_in_the_table() -> None:
    sent = {text for text in strings() if METHOD.fullmatch(text)} & set(METHODS)
    assert sent == set(table())


def test_every_parameter_of_a_call_is_in_the_table() -> None:
    calls = list(literal_calls())
    assert {method for method, _ in calls} >= {"answerCallbackQuery", "setWebhook", "setMyCommands"}
    missing = [(method, name) for method, names in calls for name in names if name not in table()[method]]
    assert missing == []


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        (BOLD, {}),
        (BOLD, {"edits": 5}),
        (Document("a.txt", b"x", BOLD), {}),
        *((media(kind), {}) for kind in MediaKind if kind is not MediaKind.AUTO),
    ],
    ids=["text", "edit", "text as a document", *(kind for kind in MediaKind if kind is not MediaKind.AUTO)],
)
def test_every_parameter_of_a_message_is_in_the_table(part: Part, changes: dict[str, Any]) -> None:
    rendered = Rendered((part,), reply_markup={"inline_keyboard": []}, reply_to=5, options=OPTIONS)
    method, data = request_of(claimed(thread_id=7, silent=True, **changes), rendered)
    parameters = {*data, *(("allow_paid_broadcast",) if method in PAID_METHODS else ())}
    assert {name for name in parameters if name not in table()[method]} == set()


def test_every_parameter_of_an_album_is_in_the_table() -> None:
    album = Rendered((Album((media(MediaKind.PHOTO), media(MediaKind.VIDEO))),), reply_to=5)
    method, data = request_of(claimed(thread_id=7, silent=True), album)
    assert method == "sendMediaGroup"
    assert {name for name in (*data, "allow_paid_broadcast") if name not in table()[method]} == set()


def test_what_is_in_the_table_is_a_method_of_the_sandbox() -> None:
    assert len(table()) == 23
    assert set(table()) <= set(METHODS)
