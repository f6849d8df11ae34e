"""Parsing of a request's parameters, as by the Bot API server."""

from typing import Any

import pytest
from starlette.types import Message, Scope

from services.telegram_sandbox.bot_api import parameters
from services.telegram_sandbox.bot_api.parameters import Parameters
from services.telegram_sandbox.errors import BotApiError

FORM = "application/x-www-form-urlencoded"
LIMIT = 1_000


async def read(body: bytes = b"", kind: str = FORM, query: str = "", pieces: int = 1) -> Parameters:
    size = max(1, -(-len(body) // pieces))
    parts = [body[i : i + size] for i in range(0, len(body), size)] or [b""]

    async def receive() -> Message:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "query_string": query.encode(),
        "headers": [(b"content-type", kind.encode())],
    }
    return await parameters.read(scope, receive, LIMIT)


async def test_a_form_has_text_values_and_a_json_body_has_json_values() -> None:
    assert (await read(b"chat_id=5&text=a+%26+b")).values == {"chat_id": "5", "text": "a & b"}
    assert (await read(b'{"chat_id":5,"flag":true}', "application/json")).values == {
        "chat_id": 5,
        "flag": True,
    }


async def test_the_body_overrides_the_query() -> None:
    args = await read(b"text=body", query="text=query&chat_id=5")
    assert args.values == {"text": "body", "chat_id": "5"}


async def test_a_body_in_many_chunks_is_joined() -> None:
    assert (await read(b"text=" + b"x" * 500, pieces=7)).text("text") == "x" * 500


async def test_a_multipart_body_has_fields_and_files() -> None:
    body = (
        b'--B\r\nContent-Disposition: form-data; name="chat_id"\r\n\r\n5\r\n'
        b'--B\r\nContent-Disposition: form-data; name="document"; filename="a.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\nhello\r\n--B--\r\n"
    )
    args = await read(body, "multipart/form-data; boundary=B", pieces=5)
    assert args.values == {"chat_id": "5"}
    assert (args.files["document"].name, args.files["document"].data) == ("a.txt", b"hello")


@pytest.mark.parametrize(
    ("kind", "begin"),
    [
        (FORM, b""),
        ("application/json", b""),
        ("multipart/form-data; boundary=B", b'--B\r\nContent-Disposition: form-data; name="text"\r\n\r\n'),
    ],
)
async def test_a_body_over_the_limit_is_refused(kind: str, begin: bytes) -> None:
    with pytest.raises(BotApiError) as refused:
        await read(begin + b"x" * (LIMIT + 1), kind, pieces=3)
    assert (refused.value.status, refused.value.description) == (413, "Request Entity Too Large")


async def test_a_multipart_body_without_its_boundary_is_refused() -> None:
    with pytest.raises(BotApiError, match="can't parse multipart body"):
        await read(b"--X", "multipart/form-data")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), ("x", "x"), (5, "5"), (True, "true"), (False, "false"), ([1], "[1]"), ({"a": 1}, '{"a":1}')],
)
def test_any_json_value_can_be_read_as_text(value: Any, text: str) -> None:
    assert Parameters({"name": value}).text("name") == text


@pytest.mark.parametrize(
    ("value", "flag"),
    [("true", True), ("YES", True), ("1", True), (True, True), ("on", False), ("", False), (0, False)],
)
def test_a_flag_is_true_yes_or_1(value: Any, flag: bool) -> None:
    assert Parameters({"name": value}).flag("name") is flag


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("7", 7),
        (7, 7),
        ("8x", 8),
        (" 8", 1),
        ("1_0", 1),
        ("٣", 1),
        ("x", 0),
        ("", 3),
        (None, 3),
        ("500", 100),
        ("-4", 1),
    ],
)
def test_a_number_is_clamped_and_invalid_text_counts_as_zero(value: Any, number: int) -> None:
    args = Parameters({"name": value})
    limits = () if value == "x" else (1, 100)
    assert args.number("name", 3, *limits) == number


@pytest.mark.parametrize(("value", "data"), [("[1]", [1]), ([1], [1]), ("{", None), (None, None)])
def test_json_in_a_form_is_decoded_and_invalid_json_is_none(value: Any, data: Any) -> None:
    assert Parameters({"name": value}).data("name") == data


@pytest.mark.parametrize(("value", "chat_id"), [("5", 5), (-7, -7), ("@ada", None), (None, None)])
def test_the_chat_id_of_filters_and_log_is_a_number_or_none(value: Any, chat_id: int | None) -> None:
    assert Parameters({"chat_id": value}).chat_id == chat_id
