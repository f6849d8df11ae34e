"""Rules as values, and as people write them."""

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.bridge.routes import document, routes
from services.bridge.routes.document import BadRoutesError
from services.bridge.routes.routes import Facts, Recipient, Routes, Rule, Target
from services.contracts.events import CATEGORIES, Category, NewEvent
from services.contracts.fields import Severity
from services.contracts.routes import RoutesDocument

ONE, TWO, THREE = Target(1), Target(2, thread_id=7), Target(3, silent=True)


def facts(**changes: Any) -> Facts:
    made: dict[str, Any] = {
        "type": "build_failed",
        "category": "build",
        "source": "ci-linux",
        "severity": Severity.HIGH,
        "project": "shop",
    }
    return Facts(**made | changes)


def event(**changes: Any) -> NewEvent:
    return NewEvent.model_validate({"type": "build_failed", "title": "red", "source": "ci-linux"} | changes)


def chosen(recipients: list[Recipient]) -> list[tuple[int | str, str | None]]:
    return [(one.target.chat, one.rule) for one in recipients]


@pytest.mark.parametrize(
    ("conditions", "fits"),
    [
        ({}, True),
        ({"types": {"build_failed", "task_failed"}}, True),
        ({"types": {"task_failed"}}, False),
        ({"categories": {"build"}}, True),
        ({"categories": {"git"}}, False),
        ({"severities": {Severity.HIGH, Severity.CRITICAL}}, True),
        ({"severities": {Severity.LOW}}, False),
        ({"sources": ("ci-*",)}, True),
        ({"sources": ("CI-LINU?",)}, True),
        ({"sources": ("ci",)}, False),
        ({"sources": ("web", "*linux")}, True),
        ({"projects": ("shop",)}, True),
        ({"projects": ("sho",)}, False),
        ({"types": {"build_failed"}, "projects": ("bank",)}, False),
    ],
)
def test_a_rule_fits_where_each_of_its_conditions_does(conditions: dict[str, Any], fits: bool) -> None:
    assert Rule("r", (ONE,), **conditions).fits(facts()) is fits


def test_the_first_rule_that_fits_ends_the_search() -> None:
    rules = (Rule("other", (ONE,), types=frozenset({"git_push"})), Rule("a", (TWO,)), Rule("b", (THREE,)))
    assert routes.by_rules(rules, facts()) == [Recipient(TWO, "a")]


def test_a_rule_that_goes_on_lets_the_next_ones_add() -> None:
    rules = (Rule("a", (ONE,), goes_on=True), Rule("b", (TWO, THREE)), Rule("c", (Target(9),)))
    assert chosen(routes.by_rules(rules, facts())) == [(1, "a"), (2, "b"), (3, "b")]


def test_a_topic_gets_an_event_once_as_its_first_rule_says() -> None:
    rules = (
        Rule("a", (Target(1), Target(1, thread_id=5)), goes_on=True),
        Rule("b", (Target(1, silent=True), Target(1, thread_id=6))),
    )
    found = routes.by_rules(rules, facts())
    assert [(r.target.thread_id, r.target.silent, r.rule) for r in found] == [
        (None, False, "a"),
        (5, False, "a"),
        (6, False, "b"),
    ]


def test_what_no_rule_fits_goes_to_the_defaults() -> None:
    found = Routes({"default": (8, 9)}, (Rule("a", (ONE,), types=frozenset({"git_push"})),)).recipients(
        event()
    )
    assert chosen(found) == [(8, None), (9, None)]


@pytest.mark.parametrize("chat_id", [5, [5, 6]])
def test_an_event_that_names_its_recipients_is_not_routed(chat_id: Any) -> None:
    found = Routes({"default": (8,)}, (Rule("a", (ONE,)),)).recipients(event(chat_id=chat_id))
    assert found[0] == Recipient(Target(5))
    assert all(one.rule is None for one in found)


@pytest.mark.parametrize(
    ("changes", "project"),
    [
        ({}, "ci-linux"),
        ({"data": {"metadata": {"project": "shop"}}}, "shop"),
        ({"data": {"metadata": {"project": ""}}}, "ci-linux"),
        ({"data": {"metadata": {"project": ["shop"]}}}, "ci-linux"),
        ({"source": ""}, ""),
    ],
)
def test_the_project_is_named_in_the_metadata_or_is_the_source(changes: dict[str, Any], project: str) -> None:
    assert routes.facts_of(event(**changes)).project == project


def test_an_unknown_type_is_routed_as_what_it_is_handled_as() -> None:
    known = routes.facts_of(event(type="coffee_ready"))
    assert (known.type, known.category) == ("custom_event", "custom")


def test_the_severity_of_the_details_counts_where_the_event_has_none() -> None:
    assert routes.facts_of(event(data={"severity": "critical"})).severity is Severity.CRITICAL
    assert routes.facts_of(event()).severity is Severity.LOW


@given(st.text(max_size=30), st.lists(st.text(max_size=10), max_size=5))
def test_any_pattern_and_any_name_give_an_answer(name: str, patterns: list[str]) -> None:
    rule = Rule("r", (ONE,), sources=tuple(patterns))
    assert rule.fits(facts(source=name)) in (True, False)
    assert Rule("r", (ONE,), sources=("*",)).fits(facts(source=name))


# As people write them

TOML = """
[[route]]
name = "alarms"
type = "error_occurred"
severity = ["high", "critical"]
source = "prod-*"
to = [{ chat_id = -100123, thread_id = 7 }, { chat_id = 1001 }]
continue = true

[[route]]
name = "builds"
category = "build"
project = ["shop", "bank"]
to = [{ chat_id = -100456, silent = true }]
"""


def test_a_file_says_all_that_a_rule_can() -> None:
    alarms, builds = document.rules_of(document.from_toml(TOML))
    assert alarms == Rule(
        "alarms",
        (Target(-100123, 7), Target(1001)),
        types=frozenset({"error_occurred"}),
        severities=frozenset({Severity.HIGH, Severity.CRITICAL}),
        sources=("prod-*",),
        goes_on=True,
    )
    assert (builds.categories, builds.projects) == (frozenset({"build"}), ("shop", "bank"))
    assert builds.to == (Target(-100456, silent=True),)


def test_the_example_of_the_documentation_is_understood() -> None:
    text = (Path(__file__).parents[3] / "docs" / "intake.md").read_text(encoding="utf-8")
    example = text.partition("```toml\n")[2].partition("```")[0]
    assert [rule.name for rule in document.rules_of(document.from_toml(example))] == [
        "production alarms",
        "the shop's builds",
    ]


def test_rules_are_written_as_they_are_read() -> None:
    read = document.from_toml(TOML)
    assert RoutesDocument.model_validate_json(read.model_dump_json(by_alias=True)) == read


def test_an_empty_file_is_no_rules() -> None:
    assert document.rules_of(document.from_toml("# none yet")) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[route]\n", "not valid TOML: "),
        ('[[routes]]\nname = "a"\n', "routes: unknown; a route begins with [[route]]"),
        ('[[route]]\nname = "a"\n', "route 1 (a): to: this field is missing"),
        ("[[route]]\nto = [{ chat_id = 1 }]\n", "route 1: name: this field is missing"),
        ('[[route]]\nname = "a"\nto = []\n', "route 1 (a): to: "),
        ('[[route]]\nname = "a"\nto = [{ chat_id = "@" }]\n', "route 1 (a): to.0.chat_id: "),
        (
            '[[route]]\nname = "a"\nto = [{ chat_id = 1 }]\ncolour = 1\n',
            "route 1 (a): colour: there is no such field",
        ),
        ('[[route]]\nname = "a"\nto = [{ chat_id = 1 }]\ntype = "nap"\n', "route 1 (a): type: 'nap' is none"),
        (
            '[[route]]\nname = "a"\nto = [{ chat_id = 1 }]\ncategory = "x"\n',
            "route 1 (a): category: write 'task'",
        ),
        (
            '[[route]]\nname = "a"\nto = [{ chat_id = 1 }]\n[[route]]\nname = "a"\nto = [{ chat_id = 1 }]\n',
            "two routes are named 'a'",
        ),
        ("route = 5\n", "routes: "),
    ],
)
def test_what_is_wrong_in_a_file_is_said_in_a_line(text: str, said: str) -> None:
    with pytest.raises(BadRoutesError) as error:
        document.from_toml(text)
    assert said.removeprefix("routes: ") in str(error.value)


def test_every_fault_is_told() -> None:
    with pytest.raises(BadRoutesError) as error:
        document.from_toml('[[route]]\nname = ""\nto = []\nseverity = "mild"\n')
    assert len(str(error.value).splitlines()) == 3


def test_a_rule_may_ask_for_each_category() -> None:
    assert set(get_args(Category)) == set(CATEGORIES)


def test_there_is_a_largest_number_of_rules() -> None:
    rule = {"name": "a", "to": [{"chat_id": 1}]}
    with pytest.raises(ValidationError):
        RoutesDocument.model_validate({"routes": [rule | {"name": str(n)} for n in range(501)]})
