"""Every update is parsed into a value, whatever its fields are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.outbox.telegram.values import LARGEST_ID
from services.updates import attachments, parse
from services.updates.attachments import Attachment, AttachmentKind
from services.updates.parse import (
    KINDS,
    LONGEST_DATA,
    LONGEST_NAME,
    LONGEST_QUERY_ID,
    LONGEST_TEXT,
    OTHER,
    Ignored,
    Membership,
    NotTaken,
    ParsedUpdate,
    Sender,
    Tap,
    TextMessage,
    Unreadable,
)

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
            lengths = lengths and (parsed.attachment is None or is_bounded_file(parsed.attachment))
        case NotTaken(message):
            return is_bounded(message)
        case Membership(chat_id):
            ids, lengths = [chat_id], True
        case Ignored() | Unreadable():
            ids, lengths = [], True
    return lengths and all(one is None or (one and abs(one) <= LARGEST_ID) for one in ids)


def is_bounded_file(file: Attachment) -> bool:
    numbers = (file.size, file.width, file.height, file.duration)
    return (
        0 < len(file.file_id) <= attachments.LONGEST_FILE_ID
        and len(file.media_type) <= attachments.LONGEST_NAME
        and len(file.filename or "") <= attachments.LONGEST_NAME
        and all(one is None or 0 <= one <= attachments.LARGEST_SIZE for one in numbers)
    )


IDS = st.integers(-3, 10) | st.sampled_from([2**53, 2**53 + 1, 2**63, 10**30, -(2**53) - 1, "7", True, None])
TEXTS = st.text(max_size=4) | st.just("x" * 100_000) | st.just("a\0b") | st.integers() | st.none()
PEOPLE = st.fixed_dictionaries({"id": IDS}, optional={"first_name": TEXTS, "username": TEXTS})
CHATS = st.fixed_dictionaries({"id": IDS, "type": TEXTS | st.just("private")})
FILES = st.fixed_dictionaries(
    {"file_id": TEXTS},
    optional=dict.fromkeys(("file_size", "width", "height", "duration", "length"), IDS)
    | {"file_name": TEXTS, "mime_type": TEXTS | st.just("image/PNG")},
)
SENT = st.fixed_dictionaries(
    {"from": PEOPLE, "chat": CHATS, "message_id": IDS, "text": TEXTS},
    optional={
        "message_thread_id": IDS,
        "is_topic_message": st.booleans(),
        "reply_to_message": st.fixed_dictionaries({}, optional={"message_id": IDS, "reply_markup": JSON}),
        "caption": TEXTS,
        "photo": st.lists(FILES, max_size=3),
        "document": FILES,
        "sticker": FILES,
        "video_note": FILES,
        "location": JSON,
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


def test_notices_other_bots_and_channels_are_ignored() -> None:
    chat = {"id": 1, "type": "private"}
    for message in (
        {"message_id": 1, "from": ADA, "chat": chat, "pinned_message": {}},
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


def file_in(**message: Any) -> Attachment | None:
    whole = {"message_id": 9, "from": ADA, "chat": {"id": 1, "type": "private"}} | message
    parsed = parse.parse_update({"update_id": 1, "message": whole})
    assert isinstance(parsed, TextMessage), parsed
    return parsed.attachment


def test_of_a_photo_the_largest_size_is_taken() -> None:
    sizes = [
        {"file_id": f"F{width}", "file_unique_id": "u", "width": width, "height": 3, "file_size": 10 * width}
        for width in (90, 1280, 320)
    ]
    assert file_in(photo=sizes, caption="see") == Attachment(
        AttachmentKind.PHOTO, "F1280", "image/jpeg", 12_800, None, 1280, 3
    )


FILE = {"file_id": "F", "file_unique_id": "u", "file_size": 7}


@pytest.mark.parametrize(
    ("kind", "shown", "expected"),
    [
        ("document", {"file_name": "a.pdf", "mime_type": "application/PDF"}, ("application/pdf", "a.pdf")),
        ("document", {"mime_type": "no type"}, ("application/octet-stream", None)),
        ("voice", {"duration": 3}, ("audio/ogg", None)),
        ("audio", {"duration": 3, "mime_type": "audio/mpeg", "file_name": "a.mp3"}, ("audio/mpeg", "a.mp3")),
        ("video_note", {"length": 240, "duration": 3}, ("video/mp4", None)),
        ("sticker", {"is_animated": False, "is_video": False}, ("image/webp", None)),
        ("sticker", {"is_animated": True, "is_video": False}, ("application/x-tgsticker", None)),
        ("sticker", {"is_animated": False, "is_video": True}, ("video/webm", None)),
    ],
)
def test_a_file_has_a_type_and_perhaps_a_name(
    kind: str, shown: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    found = file_in(**{kind: FILE | shown})
    assert found is not None
    assert (found.kind, found.media_type, found.filename) == (kind, *expected)
    assert (found.width, found.height) == ((240, 240) if kind == "video_note" else (None, None))


def test_an_animation_is_no_document() -> None:
    found = file_in(animation=FILE | {"width": 4, "height": 2, "duration": 1}, document=FILE)
    assert found == Attachment(AttachmentKind.ANIMATION, "F", "application/octet-stream", 7, None, 4, 2, 1)


@pytest.mark.parametrize(
    "odd",
    [
        {"photo": []},
        {"photo": [{"file_id": "F", "width": 1, "height": "1"}]},
        {"document": {"file_id": ""}},
        {"document": {"file_id": "x" * 513}},
        {"document": {"file_id": "a\0"}},
        {"document": FILE | {"file_size": -1}},
        {"document": FILE | {"file_size": 2**63}},
        {"document": FILE | {"file_name": 7}},
        {"document": "F"},
        {"voice": FILE | {"duration": "long"}},
        {"document": FILE, "caption": 7},
    ],
    ids=str,
)
def test_a_file_with_an_odd_field_makes_an_update_unreadable(odd: dict[str, Any]) -> None:
    message = {"message_id": 9, "from": ADA, "chat": {"id": 1, "type": "private"}} | odd
    assert isinstance(parse.parse_update({"update_id": 1, "message": message}), Unreadable)


def test_content_that_no_program_can_use_is_named() -> None:
    for content, what in (
        ({"location": {"latitude": 1.0, "longitude": 2.0}}, "locations"),
        ({"venue": {}, "location": {}}, "places"),
        ({"poll": {"question": "?"}}, "polls"),
    ):
        message = {"message_id": 9, "from": ADA, "chat": {"id": 1, "type": "private"}} | content
        parsed = parse.parse_update({"update_id": 1, "message": message})
        assert isinstance(parsed, NotTaken)
        assert (parsed.what, parsed.message.text, parsed.message.attachment) == (what, "", None)
