"""Times in a chat: one format, in the zone of the chat, which every text names. Mostly pure."""

from dataclasses import replace

import pytest

from services.bridge.approvals import question_text, result_text
from services.bridge.approvals.approval import ApprovalState
from services.bridge.chats import times
from services.bridge.commands import commands
from services.bridge.commands.commands import ChatMode, CommandContext
from services.outbox.messages import Text
from services.updates.command import Command
from tests.bridge.approvals.test_question_text import NOW, QUESTION
from tests.bridge.commands.test_commands import NOTHING
from tests.bridge.people import ADA, TEAM, Bridge, People, text_of

SUMMER = 1_751_328_000.0  # 2025-07-01 00:00 UTC
BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("zone", "seconds", "shown"),
    [
        ("UTC", SUMMER, "2025-07-01 00:00:00 UTC"),
        (BERLIN, SUMMER, "2025-07-01 02:00:00 CEST"),
        (BERLIN, 1_767_225_600.0, "2026-01-01 01:00:00 CET"),
        ("America/New_York", SUMMER, "2025-06-30 20:00:00 EDT"),
        ("Asia/Kathmandu", SUMMER, "2025-07-01 05:45:00 UTC+05:45"),
        ("America/Sao_Paulo", SUMMER, "2025-06-30 21:00:00 UTC-03:00"),
        ("Gone/Zone", SUMMER, "2025-07-01 00:00:00 UTC"),
        ("../UTC", SUMMER, "2025-07-01 00:00:00 UTC"),
        ("Asia/Tokyo", 253_402_300_799.0, "9999-12-31 23:59:59 UTC"),
    ],
)
def test_a_time_names_its_zone_or_its_offset(zone: str, seconds: float, shown: str) -> None:
    assert times.date_and_time(seconds, zone) == shown
    date, clock, name = shown.split(" ")
    assert times.to_the_minute(seconds, zone) == f"{date} {clock[:5]} {name}"
    assert times.time_of_day(seconds, zone) == f"{clock[:5]} {name}"


def test_a_text_for_chats_of_several_zones_is_in_utc() -> None:
    assert times.common({BERLIN}) == BERLIN
    assert times.common({BERLIN, "UTC"}) == "UTC"
    assert times.common(set()) == "UTC"


def test_a_question_its_reminder_and_its_result_show_the_zone_of_the_chat() -> None:
    here = replace(QUESTION, time_zone=BERLIN)
    (asked,) = question_text.question(here).parts
    (again,) = question_text.reminder(here).parts
    (repeated,) = question_text.repeated_question(here, NOW, NOW + 60, None).parts
    assert "Until 2026-01-01 01:10:00 CET." in text_of_part(asked)
    assert "Asked at 2026-01-01 01:00:00 CET." in text_of_part(again)
    assert "between 2026-01-01 01:00:00 CET and 2026-01-01 01:01:00 CET" in text_of_part(repeated)
    expired = replace(here, state=ApprovalState.EXPIRED, closed_at=NOW + 601)
    assert result_text.result_line(expired) == "⌛ Expired without an answer, 2026-01-01 01:10:01 CET"


def text_of_part(part: object) -> str:
    return str(getattr(part, "text", ""))


def test_a_result_replaces_the_lines_of_a_question_that_was_asked_before_the_zone_was_set() -> None:
    (asked,) = question_text.question(QUESTION).parts
    here = replace(QUESTION, time_zone=BERLIN, state=ApprovalState.EXPIRED, closed_at=NOW + 601)
    assert isinstance(asked, Text)
    (shown,) = question_text.verdict(here, asked).parts
    assert "UTC" not in text_of_part(shown)
    assert text_of_part(shown).endswith("2026-01-01 01:10:01 CET")


def test_commands_show_the_zone_of_the_chat() -> None:
    here = CommandContext(ADA, ADA, ChatMode.LOCAL, NOW + 60, NOW, BERLIN)
    assert "muted until 2026-01-01 01:01 CET" in commands.run(Command("status"), NOTHING, here).text.text
    assert "Muted until 2026-01-01 01:30 CET" in commands.run(Command("mute", "30m"), NOTHING, here).text.text


async def test_each_way_to_ask_shows_the_zone_of_the_chats_settings(quick: Bridge, people: People) -> None:
    await quick.client.patch(f"/api/v1/chats/{ADA}", json={"time_zone": "Asia/Kathmandu"})
    asked = await quick.ask(chat_id=ADA)
    shown = await people.until_text(ADA, "Deploy 1.4?")
    assert "UTC+05:45. " in text_of(shown)
    await people.tap(shown, "Approve")
    decided = await people.until_text(ADA, "Decided: Approve")
    assert text_of(decided).endswith("UTC+05:45")
    assert (await quick.approval(asked["id"]))["closed_at"].endswith("Z")
    await people.say(ADA, "/mute 30m")
    await people.until_text(ADA, "UTC+05:45: only what is critical")
    question = {"type": "approval_request", "title": "Ship it?", "data": {"approval_prompt": "ship"}}
    await quick.post(**question, chat_id=ADA)
    assert "UTC+05:45. " in text_of(await people.until_text(ADA, "Ship it?"))
    # The chats have different zones.
    await quick.post(**question | {"title": "Both?"}, chat_id=[ADA, TEAM])
    assert " UTC. " in text_of(await people.until_text(ADA, "Both?"))
