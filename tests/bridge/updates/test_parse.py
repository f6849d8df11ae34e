"""Every update is parsed into a value, whatever its fields are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bridge.updates import parse
from services.bridge.updates.parse import (
    KINDS,
    LONGEST_DATA,
    LONGEST_NAME,
    LONGEST_QUERY_ID,
    LONGEST_TEXT,
    OTHER,
    Ignored,
    Membership,
    ParsedUpdate,
    Sender,
    Tap,
    TextMessage,
    Unreadable,
)
from services.outbox.telegram.values import LARGEST_ID

ADA = {"id": 1001, "is_bot": False, "first_name": "Ada", "last_name": "Lovelace", "username": "ada"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "from",
                    "chat",
                    "type",
                    "message",
                    "data",
                    "text",
                    "message_id",
                    "new_chat_member",
                    "status",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from([*KINDS, "poll", "edited_message"]), JSON)
def test_any_update_is_parsed(kind: str, content: Any) -> None:
    assert is_bounded(parse.parse_update({"update_id": 1, kind: content}))


def is_bounded(parsed: ParsedUpdate) -> bool:
    match parsed:
        case Tap(query_id, sender, data, chat_id, message_id):
            ids = [sender.id, chat_id, message_id]
            lengths = len(query_id) <= LONGEST_QUERY_ID and len(data) <= LONGEST_DATA
        case TextMessage():
            ids = [parsed.sender.id, parsed.chat_id, parsed.thread_id, parsed.message_id, parsed.reply_to]
            lengths = len(parsed.text) <= LONGEST_TEXT and len(parsed.reply_to_button) <= LONGEST_DATA
        case Membership(chat_id):
            ids, lengths = [chat_id], True
        case Ignored() | Unreadable():
            ids, lengths = [], True
    return lengths and all(one is None or (one and abs(one) <= LARGEST_ID) for one in ids)


IDS = st.integers(-3, 10) | st.sampled_from([2**53, 2**53 + 1, 2**63, 10**30, -(2**53) - 1, "7", True, None])
TEXTS = st.text(max_size=4) | st.just("x" * 100_000) | st.just("a\0b") | st.integers() | st.none()
PEOPLE = st.fixed_dictionaries({"id": IDS}, optional={"first_name": TEXTS, "username": TEXTS})
CHATS = st.fixed_dictionaries({"id": IDS, "type": TEXTS | st.just("private")})
SENT = st.fixed_dictionaries(
    {"from": PEOPLE, "chat": CHATS, "message_id": IDS, "text": TEXTS},
    optional={
        "message_thread_id": IDS,
        "is_topic_message": st.booleans(),
        "reply_to_message": st.fixed_dictionaries({}, optional={"message_id": IDS, "reply_markup": JSON}),
    },
)
TAPS = st.fixed_dictionaries({"id": TEXTS | IDS, "from": PEOPLE}, optional={"data": TEXTS, "message": SENT})
CHANGES = st.fixed_dictionaries(
    {"chat": CHATS, "new_chat_member": st.fixed_dictionaries({"status": st.just("member") | TEXTS})}
)


@given(
    SENT.map(lambda one: {"message": one})
    | TAPS.map(lambda one: {"callback_query": one})
    | CHANGES.map(lambda one: {"my_chat_member": one})
)
def test_every_value_of_an_update_is_within_its_bounds(update: dict[str, Any]) -> None:
    parsed = parse.parse_update(update)
    assert is_bounded(parsed)
    assert "\0" not in repr(parsed).replace("\\x00", "\0")


def test_a_tap_has_a_sender_and_a_message() -> None:
    update = {
        "update_id": 1,
        "callback_query": {
            "id": "77",
            "from": ADA,
            "data": "a:x:0",
            "message": {"message_id": 5, "chat": {"id": -2001, "type": "group"}},
        },
    }
    assert parse.parse_update(update) == Tap(
        "77", Sender(1001, "Ada Lovelace (@ada)", "ada"), "a:x:0", -2001, 5
    )


def test_a_tap_without_its_message_is_a_tap() -> None:
    update = {
        "update_id": 1,
        "callback_query": {"id": "77", "from": {"id": 5, "first_name": "G"}, "data": "d"},
    }
    assert parse.parse_update(update) == Tap("77", Sender(5, "G", None), "d", None, None)


def test_a_reply_in_a_topic_has_its_topic_and_its_message() -> None:
    update = {
        "update_id": 1,
        "message": {
            "message_id": 9,
            "from": ADA,
            "chat": {"id": -100, "type": "supergroup"},
            "text": "yes",
            "is_topic_message": True,
            "message_thread_id": 7,
            "reply_to_message": {"message_id": 8},
        },
    }
    parsed = parse.parse_update(update)
    assert isinstance(parsed, TextMessage)
    assert (parsed.thread_id, parsed.reply_to, parsed.private) == (7, 8, False)


def test_a_reply_has_the_data_of_the_first_button_of_its_message() -> None:
    answered = {
        "message_id": 8,
        "reply_markup": {"inline_keyboard": [[{"text": "Yes", "callback_data": "a:x:0"}]]},
    }
    message = {"message_id": 9, "from": ADA, "chat": {"id": 1, "type": "private"}, "text": "yes"}
    parsed = parse.parse_update({"update_id": 1, "message": message | {"reply_to_message": answered}})
    assert isinstance(parsed, TextMessage)
    assert (parsed.reply_to, parsed.reply_to_button) == (8, "a:x:0")
    keyboards: list[list[list[dict[str, str]]]] = [[], [[]], [[{"text": "a", "url": "u"}]]]
    for keyboard in keyboards:
        odd = {"message_id": 8, "reply_markup": {"inline_keyboard": keyboard}}
        parsed = parse.parse_update({"update_id": 1, "message": message | {"reply_to_message": odd}})
        assert isinstance(parsed, TextMessage)
        assert parsed.reply_to_button == ""


def test_photos_other_bots_and_channels_are_ignored() -> None:
    chat = {"id": 1, "type": "private"}
    for message in (
        {"message_id": 1, "from": ADA, "chat": chat, "photo": []},
        {"message_id": 1, "from": ADA | {"is_bot": True}, "chat": chat, "text": "hi"},
        {"message_id": 1, "sender_chat": chat, "chat": chat, "text": "hi"},
    ):
        assert parse.parse_update({"update_id": 1, "message": message}) == Ignored()


@pytest.mark.parametrize(
    ("member", "may_write"),
    [
        ({"status": "member"}, True),
        ({"status": "administrator"}, True),
        ({"status": "creator"}, True),
        ({"status": "kicked"}, False),
        ({"status": "left"}, False),
        ({"status": "restricted", "can_send_messages": True}, True),
        ({"status": "restricted", "can_send_messages": False}, False),
    ],
)
def test_a_membership_says_whether_the_bot_may_write(member: dict[str, Any], may_write: bool) -> None:
    update = {
        "update_id": 1,
        "my_chat_member": {"chat": {"id": 1001, "type": "private"}, "new_chat_member": member},
    }
    assert parse.parse_update(update) == Membership(1001, True, may_write)


def test_an_unknown_kind_is_other() -> None:
    assert parse.kind_of({"update_id": 1, "poll_answer": {}}) == OTHER
    assert parse.kind_of({"update_id": 1, "message": {}}) == "message"


def test_long_names_are_cut() -> None:
    user = {"id": 1, "first_name": "x" * 64, "last_name": "y" * 64, "username": "z" * 32}
    update = {"update_id": 1, "callback_query": {"id": "1", "from": user, "data": ""}}
    tap = parse.parse_update(update)
    assert isinstance(tap, Tap)
    assert len(tap.sender.name) == LONGEST_NAME


@pytest.mark.parametrize(
    "message",
    [
        {"message_id": "9"},
        {"message_id": 0},
        {"message_id": 10**30},
        {"from": {"id": -1}},
        {"from": {"id": True}},
        {"chat": {"id": "zz", "type": "private"}},
        {"chat": {"id": 0, "type": "private"}},
        {"text": 7},
        {"reply_to_message": 7},
    ],
    ids=str,
)
def test_a_field_of_the_wrong_type_or_size_makes_an_update_unreadable(message: dict[str, Any]) -> None:
    good = {"message_id": 9, "from": ADA, "chat": {"id": 1, "type": "private"}, "text": "yes"}
    assert isinstance(parse.parse_update({"update_id": 1, "message": good}), TextMessage)
    assert isinstance(parse.parse_update({"update_id": 1, "message": good | message}), Unreadable)
