"""The text of a digest: bounded, the most severe first, in the chat's time."""

from services.bridge.events.digest_text import Shown, highest, text_of
from services.contracts.fields import Severity
from services.outbox.messages import Text
from services.outbox.telegram.text import ENTITY_LIMIT, MESSAGE_LIMIT, mark_repeated

AT = 37_860.0  # 10:31 UTC


def test_alike_events_are_one_line_and_the_most_severe_comes_first() -> None:
    events = [
        Shown("test_passed", "Unit tests", "low", AT),
        Shown("task_failed", "Deploy", "high", AT + 60),
        Shown("test_passed", "Unit tests", "low", AT + 780),
        Shown("test_passed", "Unit tests", "medium", AT + 840),
    ]
    text = text_of("ci", events, "Europe/Berlin")
    assert text.text == (
        "🗞️ ci: 4 events since 11:31 CET\n"
        "\n❌ Deploy · high · 11:32"
        "\n✅ Unit tests · medium · 11:45"
        "\n✅ Unit tests · 2 times · 11:31 to 11:44"
    )
    assert highest(events) is Severity.HIGH


def test_events_of_several_days_have_their_date() -> None:
    events = [Shown("test_passed", "a", "low", at) for at in (AT, AT + 86_400)]
    assert text_of("ci", events, "UTC").text.endswith("· 2 times · 01 Jan 10:31 to 02 Jan 10:31")


def test_a_zone_that_this_machine_lacks_is_utc() -> None:
    assert "since 10:31 UTC" in text_of("ci", [Shown("test_passed", "a", "low", AT)], "Mars/Olympus").text


def test_a_title_or_key_cannot_pass_for_lines_of_the_digest() -> None:
    forged = "ok\n✅ Deploy · 10:31\r\u2028\n… and 9 more"
    text = text_of("ci\n\n❌ down", [Shown("test_passed", forged, "low", AT)] * 2, "UTC")
    assert text.text == (
        "🗞️ ci ❌ down: 2 events since 10:31 UTC\n\n✅ ok ✅ Deploy · 10:31 … and 9 more · 2 times · 10:31"
    )


def test_what_does_not_fit_is_counted() -> None:
    long = [Shown("test_passed", f"{n:03} {'x' * 196}", "low", AT) for n in range(60)]
    many = [Shown("test_passed", str(n), "low", AT) for n in range(500)]
    for events in (long, many):
        text = text_of("k" * 128, events, "UTC")
        shown = text.text.count("✅")
        assert text.text.endswith(f"\n… and {len(events) - shown} more")
        marked = mark_repeated(text)
        assert isinstance(marked, Text)
        assert len(marked.text) <= MESSAGE_LIMIT
        assert marked.text != text.text
        assert len(text.entities) <= ENTITY_LIMIT
