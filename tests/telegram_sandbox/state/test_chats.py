"""Chats and their messages, without HTTP."""

import pytest

from services.telegram_sandbox.errors import BotApiError
from services.telegram_sandbox.state.chats import ID_EPOCH, Chat, Chats, ChatType, Message

NOON = 1_800_000_000.0


def chats(kept: int = 100) -> Chats:
    known = Chats(kept)
    known.add(Chat(1001, ChatType.PRIVATE, "Ada", "ada"))
    known.add(Chat(-2001, ChatType.GROUP, "Team"))
    known.add(Chat(-1001, ChatType.SUPERGROUP, "Operations", topics={1: "General", 7: "CI"}))
    known.add(Chat(-1002, ChatType.CHANNEL, "News", "news"))
    return known


def message(number: int) -> Message:
    return Message({"message_id": number, "date": 0}, 7)


@pytest.mark.parametrize(
    ("chat_id", "expected"), [("1001", 1001), ("@news", -1002), ("@NEWS", -1002), ("-2001", -2001)]
)
def test_a_chat_is_found_by_id_or_name(chat_id: str, expected: int) -> None:
    assert chats().find(chat_id).id == expected


@pytest.mark.parametrize("chat_id", ["5", "@nobody", "@ada", "ada", "1001.5", "1_001", " 1001", "-"])
def test_a_missing_chat_is_not_found(chat_id: str) -> None:
    with pytest.raises(BotApiError, match="chat not found"):
        chats().find(chat_id)


def test_private_chats_and_groups_share_a_counter_and_supergroups_have_their_own() -> None:
    known = chats()
    ada, team, operations, news = known
    begin = int(NOON) - ID_EPOCH
    assert [known.next_message_id(chat, NOON) for chat in (ada, team, operations, news, ada, operations)] == [
        begin + 1,
        begin + 2,
        begin + 1,
        begin + 1,
        begin + 3,
        begin + 2,
    ]


def test_a_restored_message_advances_the_counter() -> None:
    known = chats()
    ada = known.find("1001")
    known.store(ada, message(900_000_000))
    assert known.next_message_id(ada, NOON) == 900_000_001


def test_clearing_the_chats_keeps_the_counters() -> None:
    known = chats()
    first = known.next_message_id(known.find("1001"), NOON)
    known.clear()
    assert len(known) == 0
    ada = known.add(Chat(1001, ChatType.PRIVATE, "Ada"))
    assert known.next_message_id(ada, NOON) == first + 1


def test_a_full_chat_drops_its_oldest_message_and_an_edit_keeps_its_place() -> None:
    known = chats(kept=3)
    ada = known.find("1001")
    for number in (1, 2, 3):
        known.store(ada, message(number))
    known.store(ada, message(2))
    assert list(ada.messages) == [1, 2, 3]
    known.store(ada, message(4))
    assert list(ada.messages) == [2, 3, 4]


def test_a_private_chat_shows_a_first_name_and_the_others_a_title() -> None:
    ada, team, operations, _ = chats()
    assert ada.wire() == {"id": 1001, "type": "private", "first_name": "Ada", "username": "ada"}
    assert team.wire() == {"id": -2001, "type": "group", "title": "Team"}
    assert operations.wire()["is_forum"] is True


@pytest.mark.parametrize(
    ("chat", "status", "words"),
    [
        (Chat(1, ChatType.PRIVATE, blocked=True), 403, "Forbidden: bot was blocked by the user"),
        (Chat(1, ChatType.PRIVATE, deactivated=True, blocked=True), 403, "Forbidden: user is deactivated"),
        (
            Chat(1, ChatType.PRIVATE, started=False),
            403,
            "Forbidden: bot can't initiate conversation with a user",
        ),
        (Chat(-1, ChatType.GROUP, deleted=True), 403, "Forbidden: the group chat was deleted"),
        (
            Chat(-1, ChatType.GROUP, kicked=True, member=False),
            403,
            "Forbidden: bot was kicked from the group chat",
        ),
        (Chat(-1, ChatType.CHANNEL, kicked=True), 403, "Forbidden: bot was kicked from the channel chat"),
        (
            Chat(-1, ChatType.SUPERGROUP, member=False),
            403,
            "Forbidden: bot is not a member of the supergroup chat",
        ),
        (
            Chat(-1, ChatType.CHANNEL, can_send=False),
            400,
            "Bad Request: need administrator rights in the channel chat",
        ),
        (
            Chat(-1, ChatType.GROUP, can_send=False),
            400,
            "Bad Request: not enough rights to send documents to the chat",
        ),
        (
            Chat(-1, ChatType.GROUP, migrated_to=-9),
            400,
            "Bad Request: group chat was upgraded to a supergroup chat",
        ),
    ],
)
def test_every_reason_not_to_write_has_telegram_s_text(chat: Chat, status: int, words: str) -> None:
    with pytest.raises(BotApiError) as refused:
        chat.check_writable("documents")
    assert (refused.value.status, refused.value.description) == (status, words)


def test_an_upgrade_names_the_new_chat() -> None:
    with pytest.raises(BotApiError) as refused:
        Chat(-1, ChatType.GROUP, migrated_to=-9).check_writable()
    assert refused.value.parameters == {"migrate_to_chat_id": -9}


def test_the_general_topic_must_not_be_named() -> None:
    operations = chats().find("-1001")
    operations.check_topic(None)
    operations.check_topic(7)
    for wrong in (1, 8):
        with pytest.raises(BotApiError, match="message thread not found"):
            operations.check_topic(wrong)
    operations.closed_topics.add(7)
    with pytest.raises(BotApiError, match="TOPIC_CLOSED"):
        operations.check_topic(7)
