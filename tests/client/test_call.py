"""Calls as values: paths, queries, bodies; and the bridge's document, which they cover."""

import inspect
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest

from services.bridge import app as bridge_app
from services.client import call
from services.client.call import Call, Service
from services.client.calls import (
    approvals,
    dead_letters,
    events,
    files,
    incidents,
    maintenance,
    messages,
    settings,
    status,
    targets,
)
from services.contracts.alertmanager import Status
from services.contracts.approvals import NewApproval
from services.contracts.chats import ChatChanges, ChatSettings
from services.contracts.events import NewEvent
from services.contracts.keys import NewKey, Scope
from services.contracts.maintenance import NewMaintenanceWindow
from services.contracts.routes import NewRoutes, RuleDocument, TargetDocument
from services.demo import alert
from tests.conftest import BridgeFactory

EVENT = NewEvent(type="task_completion", title="Done")
RULE = RuleDocument.model_validate({"name": "a", "to": [{"chat_id": 1}], "continue": True})
#: An argument for each required parameter of a call.
ARGUMENTS: dict[str, Any] = {
    "approval_id": "id",
    "changes": ChatChanges(name="Ada"),
    "chat_id": 1001,
    "client": "ci",
    "content": b"%PDF-1.7",
    "correlation_id": "order-1",
    "event": EVENT,
    "event_id": "id",
    "file_id": "id",
    "events": [EVENT],
    "incident_id": "id",
    "job_id": "id",
    "key_id": "key_1",
    "message_id": "id",
    "new": None,
    "option": "approve",
    "response_id": "id",
    "question": NewApproval(title="Deploy?", prompt="make deploy"),
    "settings": ChatSettings(),
    "url": "https://ci.example/hook",
    "target": "email:ada@example.com",
    "text": "a note",
    "version": 1,
    "window_id": "id",
    "webhook": alert(datetime(2026, 1, 31, tzinfo=UTC), Status.FIRING, ""),
}
#: The argument ``new`` of those that create or replace something.
NEW = {
    "create_key": NewKey(name="ci", scopes=[Scope.EVENTS_WRITE]),
    "set_routes": NewRoutes(routes=[RULE]),
    "start_maintenance": NewMaintenanceWindow(matchers=["service=api"]),
}


def every_call() -> Iterator[tuple[str, Call[Any]]]:
    for module in (
        approvals,
        dead_letters,
        events,
        files,
        incidents,
        maintenance,
        messages,
        settings,
        status,
        targets,
    ):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                yield name, described(name, function)


def described(name: str, function: Callable[..., Call[Any]]) -> Call[Any]:
    required = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is inspect.Parameter.empty
    ]
    # It needs an option or a text.
    required += ["option"] if name == "decide" else []
    return function(**{each: NEW.get(name) if each == "new" else ARGUMENTS[each] for each in required})


def test_there_is_a_call_for_every_operation_of_the_bridge(bridge_settings: BridgeFactory) -> None:
    document = bridge_app.create_app(bridge_settings()).openapi()
    operations = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
        if path.startswith("/api/v1/")
    } - {
        ("GET", "/api/v1/stream"),
        # Its body is of another program.
        ("POST", "/api/v1/hooks/{source}/preview"),
    }
    made = {
        (each.method, each.target.partition("?")[0])
        for _, each in every_call()
        if each.service is Service.BRIDGE
    }
    missing = [
        f"{method} {path}"
        for method, path in operations
        if not any(method == ours and re.fullmatch(_pattern(path), target) for ours, target in made)
    ]
    assert sorted(missing) == []


def _pattern(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "[^/]+", path)


def test_a_name_cannot_change_the_path() -> None:
    assert messages.message("../keys?x#y").target == "/api/v1/messages/..%2Fkeys%3Fx%23y"


def test_a_query_has_only_what_is_given_and_lists_repeat() -> None:
    since = datetime(2026, 1, 31, 8, tzinfo=UTC)
    target = messages.messages(status=["queued", "sending"], q="a&b", since=since, limit=7).target
    assert parse_qsl(target.partition("?")[2]) == [
        ("status", "queued"),
        ("status", "sending"),
        ("since", "2026-01-31T08:00:00+00:00"),
        ("q", "a&b"),
        ("limit", "7"),
    ]
    assert messages.traces(active=False).target == "/api/v1/traces?active=false&limit=50"
    assert approvals.approval("id").target == "/api/v1/approvals/id"


def test_the_next_page_has_the_same_conditions() -> None:
    first = messages.messages(status=["queued"], q="a b", cursor="9")
    query = dict(parse_qsl(call.next_page(first, "4").target.partition("?")[2]))
    assert query == {"status": "queued", "q": "a b", "limit": "50", "cursor": "4"}


def test_a_body_has_what_was_set_under_the_api_s_names() -> None:
    assert events.send(EVENT).body == b'{"type":"task_completion","title":"Done"}'
    assert events.send_all([EVENT]).body == b'[{"type":"task_completion","title":"Done"}]'
    rule = b'{"name":"a","to":[{"chat_id":1}],"continue":true}'
    assert settings.set_routes(NewRoutes(routes=[RULE])).body == b'{"routes":[' + rule + b"]}"
    tried = settings.recipients(EVENT, routes=[RuleDocument(name="b", to=[TargetDocument(chat_id=2)])])
    assert tried.body is not None
    assert tried.body.startswith(b'{"event":{"type":"task_completion","title":"Done"},"routes":[{"name":"b"')


def test_what_would_be_stored_twice_has_a_key_of_its_own() -> None:
    first, second = events.send(EVENT), events.send(EVENT)
    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]
    assert first.repeatable
    assert events.send(EVENT, key="build-7").headers == {"Idempotency-Key": "build-7"}


@pytest.mark.parametrize(("name", "made"), list(every_call()), ids=[name for name, _ in every_call()])
def test_only_what_changes_nothing_more_is_repeatable(name: str, made: Call[Any]) -> None:
    # Each edit is a message of its own; a repeated deletion gets the first answer, an upload the first ID.
    harmless = (made.method in ("GET", "PUT", "PATCH") and name != "edit") or name in (
        "send_alerts",
        "delete",
        "upload",
        "acknowledge_incident",
        "unacknowledge_incident",
        "resolve_incident",
        "escalate_incident",
        "note_incident",
        "end_maintenance",
        "delete_maintenance",
    )
    assert made.repeatable is (harmless or "Idempotency-Key" in made.headers)
