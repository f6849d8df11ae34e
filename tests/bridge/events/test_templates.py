"""A team's own wording: filters become entities, and no value of an event can break or bound one."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.bridge.app import create_app
from services.bridge.events.render import render
from services.bridge.events.template_folder import TemplateFolder
from services.bridge.events.templates import TemplateFailedError, Templates
from services.contracts.events import NewEvent
from services.contracts.fields import is_blank
from services.kit.settings import StartError
from services.outbox.messages import Text
from tests import servers
from tests.conftest import BridgeFactory
from tests.outbox.making import claimed
from tests.outbox.telegram.test_text import slices, telegram_takes


def event(title: str = "Build finished", **more: Any) -> NewEvent:
    return NewEvent.model_validate({"type": "task_completion", "title": title, **more})


def fill(template: str, posted: NewEvent | None = None) -> Text:
    values = (posted or event()).model_dump(mode="json")
    return Templates({"default": template}).fill("task_completion", values)


def test_filters_become_entities_with_utf16_offsets() -> None:
    text = fill("🚀 {{ title|bold }} by {{ source|code }}", event(source="ci"))
    assert text.text == "🚀 Build finished by ci"
    assert list(text.entities) == [
        {"type": "bold", "offset": 3, "length": 14},
        {"type": "code", "offset": 21, "length": 2},
    ]


def test_a_block_has_its_language_and_a_link_its_address() -> None:
    posted = event(data={"command": "make run", "url": "https://example.com/1"})
    text = fill("{{ data.command|pre('shell') }}\n{{ 'Open'|link(data.url) }}", posted)
    assert [entity.get("language") or entity.get("url") for entity in text.entities] == [
        "shell",
        "https://example.com/1",
    ]


def test_entities_may_stand_within_one_another_and_be_joined() -> None:
    text = fill("{{ ((title|italic) ~ '!')|bold }}")
    assert text.text == "Build finished!"
    assert {entity["type"]: entity["length"] for entity in text.entities} == {"bold": 15, "italic": 14}


@pytest.mark.parametrize("url", ["javascript:alert(1)", "http://jenkins:8080/job/7", "https://grafana"])
def test_a_link_that_telegram_refuses_is_shown_as_text(url: str) -> None:
    assert fill(f"{{{{ 'Open'|link('{url}') }}}}!") == Text(f"Open ({url})!")
    assert fill(f"{{{{ '{url}'|link('{url}') }}}}") == Text(url)


def test_a_refused_link_within_bold_text_is_bold_with_its_url() -> None:
    text = fill("{{ ('Open'|link('http://ci/7') ~ ' 🚀')|bold }} {{ title|code }}")
    assert text.text == "Open (http://ci/7) 🚀 Build finished"
    assert slices(text) == [("bold", "Open (http://ci/7) 🚀"), ("code", "Build finished")]


def test_a_url_that_was_marked_itself_is_a_link() -> None:
    posted = event(data={"url": "https://example.com/1"})
    text = fill("{{ 'Open'|link(data.url|bold) }} {{ 'all'|link('http://ci/' ~ (title|bold)) }}", posted)
    assert text.text == "Open all (http://ci/Build finished)"
    assert [entity["url"] for entity in text.entities] == ["https://example.com/1"]


def test_a_link_without_a_url_is_its_text() -> None:
    assert fill("{{ 'Open'|link(data.url) }}") == Text("Open")


def test_a_template_that_cuts_what_it_marked_still_shows_the_text() -> None:
    assert fill("{{ (title|bold)[:-1] }}").text == "Build finished"


def test_what_an_event_does_not_have_is_left_out() -> None:
    assert fill("{{ title }}{{ data.branch_name }}{{ nothing.at.all }}").text == "Build finished"


# NUL is refused at the door: PostgreSQL cannot hold it.
_TEXT = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
_VALUE = st.text(_TEXT | st.sampled_from(["\U000f0000", "\U000f0001", "\U0010fffd", "\ufeff"]), min_size=1)
_TITLE = _VALUE.filter(lambda title: not is_blank(title[:200]))


@given(_TITLE, _VALUE)
def test_no_value_breaks_a_template_and_none_is_changed(title: str, description: str) -> None:
    text = fill("> {{ title|bold }} {{ description|code }} ok", event(title[:200], description=description))
    assert text.text == f"> {title[:200]} {description} ok"
    telegram_takes(text)
    assert slices(text) == [("bold", title[:200]), ("code", description)]


_KINDS = st.sampled_from(["bold", "italic", "code", "pre", "link('https://example.com/')"])
_ACTIONS = st.sampled_from(["", "|upper", "|reverse", "|truncate(5)", "[1:]", "[:-1]", "|replace('a', '')"])


@given(st.lists(st.tuples(_KINDS, _ACTIONS, _KINDS), min_size=1, max_size=6), _TITLE)
def test_whatever_a_template_does_to_what_it_marked_telegram_takes_it(
    steps: list[tuple[str, str, str]], title: str
) -> None:
    template = "ok " + "".join(f"{{{{ ((title|{first}){act})|{then} }}}}" for first, act, then in steps)
    text = fill(template, event(title[:200]))
    telegram_takes(text)
    text.text.encode()
    length = len(text.text.encode("utf-16-le")) // 2
    assert all(entity["offset"] + entity["length"] <= length for entity in text.entities)


def test_more_marks_than_telegram_looks_at_are_only_text() -> None:
    text = fill("{% for n in range(3000) %}{{ n|bold }} {% endfor %}")
    assert text.text == " ".join(map(str, range(3000)))
    assert len(text.entities) == 1024
    links = fill("{% for n in range(1025) %}{{ n|link('https://a.example/') }} {% endfor %}")
    assert links.text.endswith(" 1023 1024 (https://a.example/)")


def test_a_type_has_its_own_template_before_the_default_one() -> None:
    templates = Templates({"default": "all", "build_failed": "broken: {{ title }}"})
    assert templates.fill("build_failed", {"title": "x"}).text == "broken: x"
    assert templates.fill("task_completion", {"title": "x"}).text == "all"
    assert [templates.words_itself(kind) for kind in ("build_failed", "task_completion")] == [True, False]


@pytest.mark.parametrize(
    "template",
    [
        "{{ 1 / 0 }}",
        "{{ title.missing() }}",
        "{{ ''.__class__.mro() }}",
        "{{ 5|dictsort }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{% for n in range(10 ** 9) %}.{% endfor %}",
        "  ",
        "\u200b\u2060\ufeff \x01",
    ],
)
def test_a_template_that_fails_says_why(template: str) -> None:
    with pytest.raises(TemplateFailedError):
        fill(template)


def test_where_a_template_fails_our_own_wording_goes_out_and_is_counted() -> None:
    message = claimed(event_type="task_completion", body=event().model_dump_json(exclude_defaults=True))
    failures: list[str] = []
    (part,) = render(message, Templates({"default": "{{ 1 / 0 }}"}, lambda: failures.append("one"))).parts
    assert isinstance(part, Text)
    assert "Build finished" in part.text
    assert failures == ["one"]


def test_a_template_words_the_message(tmp_path: Path) -> None:
    (tmp_path / "task_completion.txt").write_text(
        "{{ emoji }} {{ title|bold }}, says {{ source or 'nobody' }}"
    )
    message = claimed(event_type="task_completion", body=event().model_dump_json(exclude_defaults=True))
    (part,) = render(message, load(tmp_path)).parts
    assert isinstance(part, Text)
    assert part.text == "✅ Build finished, says nobody"


def test_what_else_lies_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "task_completion.txt").write_text("done")
    (tmp_path / "README.md").write_text("{{ how to write templates")
    (tmp_path / "..data").mkdir()
    assert load(tmp_path).names == ["task_completion"]


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("task_completion", "{{ title", "TEMPLATES_DIR: task_completion.txt, line 1"),
        ("task_complete", "x", "TEMPLATES_DIR: task_complete.txt: no event type has this name"),
    ],
)
def test_a_wrong_template_stops_the_start_with_one_line(
    tmp_path: Path, name: str, source: str, said: str
) -> None:
    (tmp_path / f"{name}.txt").write_text(source)
    with pytest.raises(StartError) as refused:
        load(tmp_path)
    assert str(refused.value).startswith(said)


def test_a_missing_folder_and_a_file_that_is_no_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"TEMPLATES_DIR: No such file or directory: .*gone"):
        load(tmp_path / "gone")
    (tmp_path / "default.txt").write_bytes(b"\xff")
    with pytest.raises(StartError, match=r"TEMPLATES_DIR: default.txt: it is not UTF-8 text"):
        load(tmp_path)


def load(folder: Path) -> Templates:
    return TemplateFolder(folder, CollectorRegistry()).templates


@pytest.fixture
async def templated(
    bridge_settings: BridgeFactory, database_url: str, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """A bridge with a template of all types, in the folder ``templates``."""
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "default.txt").write_text("first: {{ title|bold }}")
    settings = bridge_settings(database_url=database_url, templates_dir=folder)
    async with servers.client_of(create_app, settings) as client:
        yield client


async def preview(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    event = {"type": "build_failed", "title": "Build 7"} | fields
    answer = await client.post("/api/v1/templates/preview", json=event)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_changed_template_is_used_and_an_invalid_one_is_not(
    templated: httpx.AsyncClient, tmp_path: Path
) -> None:
    folder = tmp_path / "templates"
    part = {
        "text": "first: Build 7",
        "entities": [{"type": "bold", "offset": 7, "length": 7}],
        "file": None,
    }
    assert await preview(templated) == {"template": "default", "error": None, "parts": [part]}

    async def until_listed(names: list[str], error: str) -> None:
        async def look() -> bool:
            listed = (await templated.get("/api/v1/templates")).json()
            return listed["names"] == names and error in (listed["error"] or "none")

        await servers.until(look)

    (folder / "build_failed.txt").write_text("own: {{ title }}")
    await until_listed(["build_failed", "default"], "none")
    assert (await preview(templated))["parts"][0]["text"] == "own: Build 7"
    # All or none: the good file waits until the other one is good too.
    (folder / "default.txt").write_text("second: {{ title }}")
    (folder / "build_failed.txt").write_text("{{ title")
    await until_listed(["build_failed", "default"], "build_failed.txt, line 1")
    assert (await preview(templated))["parts"][0]["text"] == "own: Build 7"

    async def is_degraded() -> bool:
        component = (await templated.get("/health")).json()["components"]["templates"]
        return component["status"] == "degraded" and "build_failed.txt" in component["error"]

    await servers.until(is_degraded)
    assert "cctelegram_templates_reload_failures_total 1.0" in (await templated.get("/metrics")).text
    (folder / "build_failed.txt").unlink()
    await until_listed(["default"], "none")
    assert (await preview(templated))["parts"][0]["text"] == "second: Build 7"


async def test_a_preview_shows_why_a_template_fails_and_the_text_that_is_sent_then(
    templated: httpx.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "templates" / "default.txt").write_text("{{ data.total / data.current }}")

    async def look() -> bool:
        return (await preview(templated, data={"current": 0, "total": 1}))["error"] is not None

    await servers.until(look)
    failed = await preview(templated, data={"current": 0, "total": 1})
    assert (failed["template"], failed["error"]) == (None, "ZeroDivisionError: division by zero")
    assert failed["parts"][0]["text"].startswith("💥 Build 7")
    assert (await preview(templated, data={"current": 1, "total": 2}))["parts"][0]["text"] == "2.0"
    assert "cctelegram_template_failures_total 0.0" in (await templated.get("/metrics")).text


async def test_without_a_folder_a_preview_shows_the_built_in_text(bridge: httpx.AsyncClient) -> None:
    assert (await bridge.get("/api/v1/templates")).json() == {"folder": None, "names": [], "error": None}
    long = await preview(bridge, type="custom_event", data={"results": "line\n" * 1_000})
    assert (long["template"], len(long["parts"])) == (None, 2)
    file = await preview(bridge, data={"stack_trace": "line\n" * 4_000})
    assert [part["file"] is not None for part in file["parts"]] == [True]
