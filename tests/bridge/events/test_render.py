"""Render: every type, every field, and nothing that Telegram would refuse."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.bridge.events.render import render
from services.contracts.events import CATEGORY_OF, CUSTOM
from services.contracts.fields import is_blank
from services.contracts.questions import contradiction
from services.outbox.messages import Claimed, Document, Rendered, Text
from services.outbox.telegram.text import CAPTION_LIMIT, MESSAGE_LIMIT, utf16_length
from tests.contracts.test_events import DATA, REQUIRED, posted
from tests.outbox.making import claimed
from tests.outbox.telegram.test_text import telegram_takes

GOOD = {field: taken for field, taken, _ in DATA}


def message(data: dict[str, Any] | None = None, **fields: Any) -> Claimed:
    """As it is claimed; what concerns the attempt is given with an underscore."""
    attempt = {name[1:]: value for name, value in fields.items() if name.startswith("_")}
    body = {"type": CUSTOM, "title": "hello"} | {k: v for k, v in fields.items() if not k.startswith("_")}
    if data is not None:
        body["data"] = data
    event = posted(**body)
    return claimed(event_type=event.kind, title=event.title, body=orjson.dumps(body).decode(), **attempt)


def one(of: Claimed) -> Text:
    (part,) = render(of).parts
    assert isinstance(part, Text)
    return part


def styled(text: Text, kind: str) -> list[str]:
    units = text.text.encode("utf-16-le")
    return [
        units[2 * e["offset"] : 2 * (e["offset"] + e["length"])].decode("utf-16-le")
        for e in text.entities
        if e["type"] == kind
    ]


@pytest.mark.parametrize("kind", CATEGORY_OF)
def test_every_type_has_its_picture_and_a_bold_title(kind: str) -> None:
    text = one(message(REQUIRED.get(kind), type=kind, title="What happened"))
    picture, title = text.text.splitlines()[0].split(" ", 1)
    assert picture
    assert not picture.isascii()
    assert title == "What happened"
    assert styled(text, "bold")[0] == "What happened"


def test_an_event_as_a_person_reads_it() -> None:
    text = one(
        message(
            {
                "status": "done",
                "duration_ms": 65_000,
                "tests_passed": 214,
                "tests_failed": 0,
                "test_count": 214,
                "current": 3,
                "total": 4,
                "files_affected": ["a.py", "b.py"],
                "coverage_percentage": 91.5,
                "results": "All green",
                "tags": ["nightly", "linux"],
                "url": "https://ci.example/1",
            },
            type="build_completed",
            title="Build finished",
            description="Everything passed",
            source="ci",
            severity="low",
            task_id="T-1",
        )
    )
    assert text.text == (
        "🏗️ Build finished\n\n"
        "Everything passed\n\n"
        "Status: done\n"
        "Duration: 0:01:05\n"
        "Coverage: 91.5 %\n"
        "Tests: 214 passed, 0 failed, 214 in all\n"
        "Progress: 3 of 4\n"
        "Files: a.py, b.py\n\n"
        "Results\nAll green\n\n"
        "https://ci.example/1\n\n"
        "ci · low · T-1 · #nightly · #linux"
    )
    facts = ["done", "0:01:05", "91.5 %", "214 passed, 0 failed, 214 in all", "3 of 4", "a.py, b.py"]
    assert styled(text, "code") == facts
    assert styled(text, "text_link") == ["https://ci.example/1"]
    assert styled(text, "italic") == ["ci · low · T-1 · #nightly · #linux"]


@pytest.mark.parametrize(
    "url",
    [
        "http://jenkins:8080/job/7",
        "http://localhost:3000/",
        "https://grafana/d/abc",
        "https://[::1",
        "tg://x:1",
    ],
)
def test_a_url_that_telegram_refuses_in_a_link_is_text(url: str) -> None:
    text = one(message({"url": url}, title="Build 7"))
    assert text.text.endswith(f"Build 7\n\n{url}")
    assert styled(text, "text_link") == []
    telegram_takes(text)


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_200, "1.2 s"),
        (59_949, "59.9 s"),
        (60_000, "0:01:00"),
        (3_725_000, "1:02:05"),
        (86_400_000, "1 day, 0:00:00"),
    ],
)
def test_durations_in_a_persons_units(milliseconds: int, said: str) -> None:
    assert f"Duration: {said}\n" in one(message({"duration_ms": milliseconds})).text + "\n"


@pytest.mark.parametrize("zero", ["exit_code", "files_changed", "tests_failed", "current", "response_code"])
def test_nought_is_a_value_and_shown(zero: str) -> None:
    assert "0" in one(message({zero: 0})).text


def test_a_long_list_of_files_is_counted() -> None:
    text = one(message({"files_affected": [f"f{n}" for n in range(14)]})).text
    assert "f9 and 4 more" in text
    assert "f10" not in text


def test_code_and_traces_are_code_blocks() -> None:
    text = one(message({"command": "make test", "stack_trace": "Traceback", "code_snippet": "x = 1"}))
    assert styled(text, "pre") == ["make test", "x = 1", "Traceback"]
    assert {e.get("language") for e in text.entities if e["type"] == "pre"} == {"shell", None}


def test_markup_characters_are_only_characters() -> None:
    nasty = "<b>*_`[](http://x)~|{}.!</b>&amp;"
    text = one(message({"status": nasty, "results": nasty}, title=nasty, description=nasty, source=nasty))
    assert text.text.count(nasty) == 5


def test_what_is_too_long_for_a_few_messages_is_a_document() -> None:
    crash = {"stack_trace": "x" * 20_000, "error_message": "broken"}
    (document,) = render(message(crash, type="error_occurred")).parts
    assert isinstance(document, Document)
    assert document.filename.startswith("error_occurred-")
    assert document.filename.endswith(".txt")
    assert b"x" * 20_000 in document.content


def assert_telegram_would_take(rendered: Rendered) -> None:
    assert 1 <= len(rendered.parts) <= 4
    for part in rendered.parts:
        text, limit = (part.caption, CAPTION_LIMIT) if isinstance(part, Document) else (part, MESSAGE_LIMIT)
        assert isinstance(text, Text)
        assert text.text.strip()
        assert len(text.text) <= limit
        length = utf16_length(text.text)
        assert len(text.entities) <= 100
        for entity in text.entities:
            assert entity["length"] > 0
            assert 0 <= entity["offset"] <= entity["offset"] + entity["length"] <= length


@pytest.mark.parametrize("user_id", ["9" * 400, f'"{"x" * 1_000}"', "true"])
def test_what_an_earlier_version_accepted_is_shown_as_it_was_posted(user_id: str) -> None:
    """A message that waits, or is replayed, was accepted with the limits of its time."""
    body = f'{{"type":"custom_event","title":"hello","data":{{"user_id":{user_id}}}}}'
    text = one(claimed(event_type=CUSTOM, title="hello", body=body))
    assert text.text == f"📌 hello\n{body}"
    assert styled(text, "pre") == [body]


def test_a_type_of_a_later_version_has_the_picture_of_a_custom_event() -> None:
    body = orjson.dumps({"type": "order_shipped", "title": "hello"}).decode()
    assert one(claimed(event_type="order_shipped", title="hello", body=body)).text == "📌 hello"


_CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
_WORDS = st.text(_CHARACTERS, max_size=60)
_DATA = st.fixed_dictionaries({}, optional={field: st.sampled_from(values) for field, values in GOOD.items()})
_TEXTS = st.fixed_dictionaries(
    {"title": st.text(_CHARACTERS, min_size=1, max_size=200).filter(lambda title: not is_blank(title))},
    optional={
        "description": _WORDS | st.sampled_from(["\U0001f600" * 2_000, " " * 2_000]),
        "source": _WORDS,
        "task_id": _WORDS,
        "severity": st.sampled_from(["low", "critical"]),
    },
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(CATEGORY_OF)), _TEXTS, _DATA, st.booleans())
def test_no_valid_event_fails(kind: str, texts: dict[str, Any], data: dict[str, Any], again: bool) -> None:
    data = REQUIRED.get(kind, {}) | data
    for field, value in REQUIRED.get(kind, {}).items():
        data[field] = data[field] or value
    if data.get("current") is not None and data.get("total") is not None:
        data["current"] = min(data["current"], data["total"])
    while wrong := contradiction({field: value for field, value in data.items() if value is not None}):
        del data[wrong[0]]
    rendered = render(message(data, type=kind, **texts, _possible_duplicate=again))
    assert_telegram_would_take(rendered)
