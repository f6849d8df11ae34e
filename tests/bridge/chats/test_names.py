"""Which chat a name means, and the destinations of an event that names chats. Pure."""

from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter, ValidationError

from services.bridge.chats.names import ChatNames, NamedChat
from services.bridge.events import addressed
from services.bridge.routes.routes import Routes, Rule, Target
from services.contracts.chats import ChatSettings
from services.contracts.fields import ChatReference
from services.kit.errors import Problem

NAMES = ChatNames.of([(-1, "Operations"), (-2, "Straße"), (3, "Ada"), (-4, "ada"), (5, "")])
OPS = NamedChat("default", "Operations")
reference: TypeAdapter[int | str] = TypeAdapter(ChatReference)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Operations", -1),
        (" OPERATIONS ", -1),
        ("STRASSE", -2),
        ("ADA", "2 chats have this name: -4, 3; write the id"),
        ("Operation", 'no chat has this name; did you mean "Operations"?'),
        ("Kitchen", "no chat has this name"),
        ("", "no chat has this name"),
    ],
)
def test_a_name_means_one_chat_whatever_its_case(name: str, found: int | str) -> None:
    assert NAMES.find(name) == found


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("Caf\u00e9", "Cafe\u0301"),  # one letter, and a letter with an accent, as macOS writes file names
        ("Cafe\u0301", "CAF\u00c9"),
        ("Ops Team", "ops\u00a0 team"),  # a no-break space
        ("Ops\u200b", "Ops"),  # a space without width, as web pages have
        ("Ops \u2764\ufe0f", "ops \u2764"),  # an emoji with and without its selector
        ("\uff2f\uff50\uff53", "Ops"),  # wide letters
    ],
)
def test_a_name_is_found_by_what_looks_the_same(written: str, asked: str) -> None:
    assert ChatNames.of([(-1, written)]).find(asked) == -1
    assert ChatNames.of([(-1, asked)]).find(written) == -1
    two = ChatNames.of([(-1, written), (-2, asked)]).find(asked)
    assert two == "2 chats have this name: -2, -1; write the id"


@pytest.mark.parametrize(
    ("written", "read"),
    [(-1001, -1001), ("-1001", -1001), (" 7 ", 7), ("@ops", "@ops"), (" Operations ", "Operations")],
)
def test_a_chat_is_a_number_a_username_or_a_name(written: int | str, read: int | str) -> None:
    assert reference.validate_python(written) == read


@pytest.mark.parametrize(
    "written", ["0", 0, "", "  ", "@", "@a b", "@7up", "9" * 17, True, 1.0, None, "a\0b"]
)
def test_anything_else_is_no_chat(written: object) -> None:
    with pytest.raises(ValidationError):
        reference.validate_python(written)


@pytest.mark.parametrize("name", ["\u200b", "\u2060 \ufeff", "\u2800"])
def test_a_name_that_cannot_be_seen_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="it has no visible character"):
        ChatSettings(name=name)
    assert ChatSettings(name=" ").name == ""


@pytest.mark.parametrize(
    "name", ["@ops", "1001", " -5 ", "\u200b@ops", "\uff20ops", "1001\u2060", "\uff11\uff10"]
)
def test_a_chat_cannot_be_given_a_name_that_reads_as_an_id_or_a_username(name: str) -> None:
    with pytest.raises(ValidationError, match="a name is no number"):
        ChatSettings(name=name)


def addressed_event(*, rules: tuple[Rule, ...] = (), **fields: Any) -> addressed.AddressedEvent:
    event = orjson.dumps({"type": "custom_event", "title": "hello"} | fields)
    (only,) = addressed.address(event, Routes({"default": (1,)}, rules)).events
    return only


def refused(one: addressed.AddressedEvent, found: dict[NamedChat, int | str]) -> Problem:
    with pytest.raises(Problem) as caught:
        one.destinations(found)
    return caught.value


def test_the_named_chats_of_a_request_are_those_of_its_events_and_routes() -> None:
    rules = (Rule("r", (Target("Operations", bot="alerts"), Target("@ops"), Target(7))),)
    body = b'[{"type":"custom_event","title":"a"},{"type":"custom_event","title":"b","chat_id":["Ops",1]}]'
    request = addressed.address(body, Routes({"default": ()}, rules))
    assert request.named == {
        NamedChat("alerts", "Operations"),
        NamedChat("default", "@ops"),
        NamedChat("default", "Ops"),
    }
    assert addressed_event(chat_id=[1, "2"]).destinations({})[1].chat_id == 2


def test_an_unknown_chat_is_named_by_its_place() -> None:
    problem = refused(addressed_event(chat_id=[1, "Operations"]), {OPS: "no chat has this name"})
    assert (problem.status, problem.errors) == (
        422,
        [{"loc": ["chat_id", 1], "msg": "no chat has this name"}],
    )
    (error,) = refused(addressed_event(chat_id="Operations"), {OPS: "no chat"}).errors or ()
    assert error["loc"] == ["chat_id"]


def test_a_chat_that_an_event_names_in_two_ways_is_refused() -> None:
    (error,) = refused(addressed_event(chat_id=[-1, "Operations"]), {OPS: -1}).errors or ()
    assert error == {"loc": ["chat_id"], "msg": "a recipient is named twice"}


def test_a_chat_that_routes_name_in_two_ways_gets_one_message() -> None:
    rules = (
        Rule("a", (Target(-1),), goes_on=True),
        Rule("b", (Target("Operations"), Target("Operations", 5))),
    )
    reached = addressed_event(rules=rules).destinations({OPS: -1})
    assert [(one.chat_id, one.thread_id, one.rule) for one in reached] == [(-1, None, "a"), (-1, 5, "b")]


def test_a_route_that_names_an_unknown_chat_lets_the_client_try_again() -> None:
    """The client cannot mend the route, and a file of EVENTS_DIR stays."""
    problem = refused(addressed_event(rules=(Rule("a", (Target("Operations"),)),)), {OPS: "no chat"})
    assert (problem.status, problem.headers) == (503, {"Retry-After": "60"})
    assert problem.detail == "The route a names the chat Operations: no chat."
