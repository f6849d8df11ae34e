"""Buttons of an event: what Telegram gets, and what a tap names."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bridge.events import buttons
from services.bridge.events.render import render
from services.contracts.buttons import Button
from services.outbox.messages import Document
from services.telegram_sandbox.bot_api import reply_markup
from tests.bridge.events.test_render import message, one
from tests.contracts.test_events import posted

AN_ID = "01a1fd93-7b93-7466-ba5b-6bba60135904"
LOG = {"text": "Log", "url": "https://ci.example/7"}
RETRY = {"text": "Retry", "data": "retry:7", "answer": "It starts again"}


def shown(*rows: list[dict[str, Any]]) -> Any:
    return buttons.keyboard(posted(buttons=list(rows)).buttons or (), AN_ID)


def test_a_button_opens_a_page_or_refers_to_its_message_and_number() -> None:
    assert shown([LOG, RETRY], [RETRY]) == {
        "inline_keyboard": [
            [LOG, {"text": "Retry", "callback_data": f"c:{AN_ID}:1"}],
            [{"text": "Retry", "callback_data": f"c:{AN_ID}:2"}],
        ]
    }


def test_a_url_that_telegram_refuses_is_a_line_of_the_text() -> None:
    rows = [[{"text": "Jenkins", "url": "http://jenkins/job/7"}, LOG]]
    rendered = render(message(buttons=rows))
    assert one(message(buttons=rows)).text.endswith("\nJenkins: http://jenkins/job/7")
    assert rendered.reply_markup == {"inline_keyboard": [[LOG]]}


def test_without_a_button_that_telegram_takes_there_is_no_keyboard() -> None:
    assert shown([{"text": "Jenkins", "url": "http://jenkins/"}]) is None
    assert render(message(buttons=[])).reply_markup is None


def test_the_buttons_are_below_a_document_too() -> None:
    data = {"stack_trace": "x\n" * 9_000}
    rendered = render(message(data, buttons=[[LOG]]))
    assert isinstance(rendered.parts[-1], Document)
    assert rendered.reply_markup == {"inline_keyboard": [[LOG]]}


@pytest.mark.parametrize(
    "data", ["", "c", "c:", f"c:{AN_ID}", f"a:{AN_ID}:1", f"c:{AN_ID}:x", f"c:{AN_ID}:-1", "c::1"]
)
def test_other_data_names_no_button(data: str) -> None:
    assert buttons.tapped(data) is None


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"buttons": 5}', '{"buttons": [[{"text": "x"}]]}', "no json"]
)
def test_an_event_without_the_button_has_none(body: str) -> None:
    assert buttons.find(body, 0) is None


TEXTS = st.text(min_size=1, max_size=64)
BUTTONS = st.one_of(
    st.fixed_dictionaries({"text": TEXTS, "data": st.text(min_size=1, max_size=256)}),
    st.fixed_dictionaries(
        {"text": TEXTS, "url": st.sampled_from(["https://a.example/", "http://a/", "HTTPS://é.example"])}
    ),
)


@given(st.lists(st.lists(BUTTONS, min_size=1, max_size=8), max_size=20))
def test_telegram_takes_every_keyboard_that_is_accepted(rows: list[list[dict[str, Any]]]) -> None:
    try:
        event = posted(buttons=rows)
    except ValueError:
        return
    keyboard = buttons.keyboard(event.buttons or (), AN_ID)
    reply_markup.check_size(reply_markup.check(reply_markup.parse(keyboard)))
    body = event.model_dump_json()
    flat = [button for row in event.buttons or () for button in row]
    for wired in (wired for row in (keyboard or {}).get("inline_keyboard", []) for wired in row):
        if "callback_data" in wired:
            named = buttons.tapped(wired["callback_data"])
            assert named is not None
            assert named[0] == AN_ID
            assert buttons.find(body, named[1]) == flat[named[1]]
            assert isinstance(flat[named[1]], Button)
