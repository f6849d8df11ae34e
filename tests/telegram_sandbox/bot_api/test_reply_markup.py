"""Valid and invalid reply markup."""

from typing import Any

import pytest

from services.telegram_sandbox.bot_api import reply_markup
from services.telegram_sandbox.errors import BotApiError

YES = {"text": "Yes", "callback_data": "yes"}


def inline(*rows: list[Any]) -> dict[str, Any]:
    return {"inline_keyboard": list(rows)}


def taken(raw: Any, *, inline_only: bool = False) -> dict[str, Any] | None:
    markup = reply_markup.check(reply_markup.parse(raw), inline_only=inline_only)
    reply_markup.check_size(markup)
    return markup


@pytest.mark.parametrize(
    "raw",
    [None, "", {"inline_keyboard": [[YES]]}, '{"inline_keyboard":[[{"text":"Yes","callback_data":"yes"}]]}'],
)
def test_no_markup_text_and_objects_are_accepted(raw: Any) -> None:
    assert taken(raw) == (inline([YES]) if raw else None)


def test_empty_rows_and_buttons_without_a_text_are_removed_without_an_error() -> None:
    assert taken(inline([], [YES, {"text": "", "callback_data": "x"}], [])) == inline([YES])
    assert taken(inline([{"text": "", "url": "nowhere"}])) is None
    assert taken(inline()) is None


def test_callback_data_may_have_64_bytes() -> None:
    longest = {"text": "x", "callback_data": "é" * 32}
    assert taken(inline([longest])) == inline([longest])


def test_a_keyboard_may_have_a_hundred_buttons() -> None:
    rows = [[YES] * 8] * 12 + [[YES] * 4]
    assert taken(inline(*rows)) is not None
    with pytest.raises(BotApiError, match="reply markup is too long"):
        taken(inline(*rows, [YES]))


def test_a_keyboard_of_many_bytes_is_too_long() -> None:
    wide = {"text": "x" * 200, "callback_data": "y" * 64}
    with pytest.raises(BotApiError, match="reply markup is too long"):
        taken(inline(*[[wide]] * 60))


def test_other_kinds_of_buttons_are_accepted() -> None:
    buttons = [
        {"text": "x", "url": "https://example.org/"},
        {"text": "x", "url": "tg://user?id=1001"},
        {"text": "x", "copy_text": {"text": "y"}},
        {"text": "x", "web_app": {"url": "https://example.org/app"}},
        {"text": "x", "login_url": {"url": "https://example.org/login"}},
        {"text": "x", "switch_inline_query": ""},
        {"text": "x", "style": "danger", "callback_data": "y"},
    ]
    assert taken(inline(buttons)) == inline(buttons)


def test_a_url_is_written_as_telegram_writes_it_and_comes_before_callback_data() -> None:
    button = {"text": "x", "url": "HTTP://Example.ORG", "callback_data": "y"}
    assert taken(inline([button])) == inline([{"text": "x", "url": "http://example.org/"}])


def test_a_reply_keyboard_is_accepted_but_not_for_an_edit() -> None:
    for reply in ({"keyboard": [[{"text": "x"}]]}, {"remove_keyboard": True}, {"force_reply": True}):
        assert taken(reply) == reply
        with pytest.raises(BotApiError, match="inline keyboard expected"):
            taken(reply, inline_only=True)
    assert taken({}) is None
    assert taken({"unknown": 1}, inline_only=True) is None


BUTTON = "can't parse inline keyboard button: "


@pytest.mark.parametrize(
    ("markup", "words"),
    [
        ("{", "can't parse reply keyboard markup JSON object"),
        ([], "object expected as reply markup"),
        (inline([5]), BUTTON + "InlineKeyboardButton must be an Object"),
        (inline([{"callback_data": "x"}]), BUTTON + 'Can\'t find field "text"'),
        (inline([{"text": None}]), BUTTON + 'Field "text" must be of type String'),
        (inline([{"text": "x"}]), BUTTON + "Text buttons are unallowed in the inline keyboard"),
        (inline([YES | {"callback_data": ""}]), BUTTON + "Text buttons are unallowed in the inline keyboard"),
        (inline([YES | {"callback_data": [1]}]), BUTTON + 'Field "callback_data" must be of type String'),
        (inline([YES | {"style": "loud"}]), BUTTON + "invalid button style specified"),
        (inline([{"text": "x", "copy_text": "y"}]), BUTTON + 'Field "copy_text" must be of type Object'),
        (inline([{"text": "x", "web_app": {}}]), BUTTON + 'Can\'t find field "url"'),
        ({"inline_keyboard": 5}, 'field "inline_keyboard" must be of type Array'),
        ({"inline_keyboard": None}, 'field "inline_keyboard" must be of type Array'),
        (
            {"inline_keyboard": [5]},
            'field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays',
        ),
        ({"keyboard": [5]}, 'field "keyboard" must be an Array of Arrays'),
        ({"keyboard": [[5]]}, "can't parse keyboard button: KeyboardButton must be a String or an Object"),
        ({"keyboard": [[{}]]}, "can't parse keyboard button: Can't find field \"text\""),
        ({"force_reply": "yes"}, 'field "force_reply" must be of type Boolean'),
        (inline([YES | {"text": "\r"}]), "inline keyboard button text must be non-empty"),
        (inline([YES | {"text": " \u200b"}]), "BUTTON_TEXT_INVALID"),
        (inline([YES | {"callback_data": "é" * 33}]), "BUTTON_DATA_INVALID"),
        (
            inline([{"text": "x", "url": "http://jenkins:8080/job/7"}]),
            "inline keyboard button URL 'http://jenkins:8080/job/7' is invalid: Wrong HTTP URL",
        ),
        (
            inline([{"text": "x", "login_url": {"url": "http://example.org"}}]),
            "inline keyboard button login URL 'http://example.org' is invalid: Only HTTPS links are allowed",
        ),
        (
            inline([{"text": "x", "web_app": {"url": "tg://user?id=5"}}]),
            "link to a user can't be used in Web App URL buttons",
        ),
    ],
)
def test_malformed_keyboards_are_refused_with_telegram_s_text(markup: Any, words: str) -> None:
    with pytest.raises(BotApiError) as refused:
        taken(markup)
    assert refused.value.description == f"Bad Request: {words}"
