"""Valid and invalid reply markup."""

from typing import Any

import pytest

from services.telegram_sandbox.bot_api import reply_markup
from services.telegram_sandbox.errors import BotApiError

YES = {"text": "Yes", "callback_data": "yes"}


def inline(*rows: list[Any]) -> dict[str, Any]:
    return {"inline_keyboard": list(rows)}


@pytest.mark.parametrize(
    "raw",
    [None, "", {"inline_keyboard": [[YES]]}, '{"inline_keyboard":[[{"text":"Yes","callback_data":"yes"}]]}'],
)
def test_no_markup_text_and_objects_are_accepted(raw: Any) -> None:
    assert reply_markup.parse(raw) == (inline([YES]) if raw else None)


def test_empty_rows_are_removed() -> None:
    assert reply_markup.parse(inline([], [YES], [])) == inline([YES])


def test_callback_data_may_have_64_bytes() -> None:
    longest = {"text": "x", "callback_data": "é" * 32}
    assert reply_markup.parse(inline([longest])) == inline([longest])


def test_a_keyboard_may_have_a_hundred_buttons() -> None:
    rows = [[YES] * 8] * 12 + [[YES] * 4]
    assert reply_markup.parse(inline(*rows)) is not None
    with pytest.raises(BotApiError, match="reply markup is too long"):
        reply_markup.parse(inline(*rows, [YES]))


def test_a_keyboard_of_many_bytes_is_too_long() -> None:
    wide = {"text": "x" * 200, "callback_data": "y" * 64}
    with pytest.raises(BotApiError, match="reply markup is too long"):
        reply_markup.parse(inline(*[[wide]] * 60))


def test_other_kinds_of_buttons_are_accepted() -> None:
    buttons = [{"text": "x", "url": "https://example.org"}, {"text": "x", "copy_text": {"text": "y"}}]
    assert reply_markup.parse(inline(buttons)) == inline(buttons)


def test_a_reply_keyboard_is_accepted_but_not_for_an_edit() -> None:
    reply = {"keyboard": [[{"text": "x"}]]}
    assert reply_markup.parse(reply) == reply
    with pytest.raises(BotApiError, match="inline keyboard expected"):
        reply_markup.parse(reply, inline_only=True)
    assert reply_markup.parse({}) is None


@pytest.mark.parametrize(
    ("markup", "words"),
    [
        (inline([5]), "expected an Object"),
        (inline([{"callback_data": "x"}]), 'find field "text"'),
        (inline([{"text": "", "callback_data": "x"}]), "BUTTON_TEXT_INVALID"),
        ({"inline_keyboard": 5}, "must be an Array of Arrays"),
        ({"inline_keyboard": [5]}, "must be an Array of Arrays"),
    ],
)
def test_malformed_keyboards_are_refused(markup: Any, words: str) -> None:
    with pytest.raises(BotApiError, match=words):
        reply_markup.parse(markup)
