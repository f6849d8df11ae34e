"""The OpenAPI document has no gap: everything is named, described and shown by an example."""

from collections.abc import Iterator
from typing import Any, get_args

import httpx
import pytest

from services.bridge import app as bridge_app
from services.contracts.messages import MessageState
from services.kit.web import openapi
from services.outbox import messages as outbox_messages
from tests.conftest import BridgeFactory
from tests.servers import until

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
#: Answers that have no body.
BODILESS = {("/telegram/webhook", "200"), ("/telegram/webhook/{bot}", "200"), ("/dashboard/", "307")}


@pytest.fixture
def document(bridge_settings: BridgeFactory) -> dict[str, Any]:
    return bridge_app.create_app(bridge_settings()).openapi()


def whole(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The operations, by method and path."""
    return [(f"{method} {path}", operation) for method, path, operation in openapi.operations(document)]


def test_every_operation_says_what_it_does_and_what_it_needs(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for name, operation in whole(document):
        for field in ("summary", "description", "operationId"):
            assert operation.get(field), (name, field)
        assert set(operation["tags"]) <= tags, name
        # Public ones say so, by an empty list.
        assert "security" in operation, name
    assert tags == {tag for _, operation in whole(document) for tag in operation["tags"]}
    assert document["info"]["description"]
    assert len({operation["operationId"] for _, operation in whole(document)}) == len(whole(document))


def test_every_path_that_is_served_is_in_it(bridge_settings: BridgeFactory, document: dict[str, Any]) -> None:
    app = bridge_app.create_app(bridge_settings())
    served = {
        (method, route.path)
        for included in app.routes
        for route in getattr(getattr(included, "original_router", None), "routes", [included])
        for method in route.methods - {"HEAD"}
    }
    # These make the document, or are the same with a slash less.
    beside = {"/openapi.json", "/docs", "/docs/files/{name}", "/redoc", "/dashboard"}
    # These answer that there is nothing to read, and what to do instead.
    empty = {("GET", "/send")} | {(way, "/{topic}") for way in ("GET", "DELETE", "PATCH", "OPTIONS", "TRACE")}
    assert empty <= served
    told = {(method, path) for method, path, _ in openapi.operations(document)}
    plain = {(method, path.replace(":path}", "}")) for method, path in served - empty if path not in beside}
    assert plain == told


def test_every_parameter_is_described_and_shown(document: dict[str, Any]) -> None:
    for name, operation in whole(document):
        for parameter in operation.get("parameters", []):
            where = (name, parameter["name"])
            assert parameter.get("description"), where
            assert parameter["schema"].get("examples"), where


def test_every_body_and_every_answer_is_described_and_has_a_schema(document: dict[str, Any]) -> None:
    for name, operation in whole(document):
        path = path_of(name)
        body = operation.get("requestBody", {"content": {}})
        for media in body["content"].values():
            assert media["schema"], name
        for status, answer in operation["responses"].items():
            where = (name, status)
            assert answer["description"], where
            assert answer["description"] != "Successful Response" or status in ("200", "201", "204"), where
            if status[0] in "45" and not path.startswith("/health"):
                assert answer["content"] == PROBLEM, where
            elif status == "204" or (path, status) in BODILESS:
                assert not answer.get("content"), where
            else:
                assert answer["content"], where
                assert all(media["schema"] for media in answer["content"].values()), where
            for header in answer.get("headers", {}).values():
                assert header["description"], where
                assert header["schema"]["examples"], where


def test_every_status_that_the_way_in_can_answer_is_named(document: dict[str, Any]) -> None:
    for name, operation in whole(document):
        said = set(operation["responses"])
        assert "default" not in said, name
        assert "500" in said, name
        if operation["security"]:
            assert {"401", "429"} <= said, name
        if operation["security"] not in ([], [{"HTTPBearer": []}]):
            assert "403" in said, name
        if "requestBody" in operation:
            assert {"400", "413", "422"} <= said or path_of(name).startswith("/telegram"), name
        elif operation.get("parameters"):
            assert "422" in said, name


def path_of(name: str) -> str:
    return name.split()[1]


def fields(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each field of each schema, with the schema's name."""
    pending: list[tuple[str, Any]] = list(document["components"]["schemas"].items())
    pending += [(name, operation) for name, operation in whole(document)]
    while pending:
        name, schema = pending.pop()
        if isinstance(schema, list):
            pending += [(name, one) for one in schema]
        elif isinstance(schema, dict):
            if schema.get("type") == "object" and "properties" in schema:
                yield from ((name, field, found) for field, found in schema["properties"].items())
            pending += [(name, one) for key, one in schema.items() if key not in ("examples", "example")]


def refers(schema: dict[str, Any]) -> bool:
    """Whether the example is that of another schema's fields, or of its values."""
    inner = [
        schema,
        schema.get("items", {}),
        schema.get("additionalProperties", {}),
        *schema.get("anyOf", []),
    ]
    return any("$ref" in one or "$ref" in one.get("items", {}) for one in inner if isinstance(one, dict))


def test_every_field_is_described_and_shown(document: dict[str, Any]) -> None:
    found = list(fields(document))
    assert len(found) > 300
    for schema, field, said in found:
        assert said.get("description"), (schema, field)
        assert said.get("examples") or refers(said), (schema, field)


def test_every_schema_is_described_and_used(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    text = str(document)
    for name, schema in schemas.items():
        assert "enum" in schema or schema.get("description"), name
        assert f"'#/components/schemas/{name}'" in text, name


def test_the_states_are_those_of_the_engine() -> None:
    assert set(get_args(MessageState)) == {state.value for state in outbox_messages.MessageState}


#: Bodies that an example of each field by itself does not make; ``data.answer`` is a field of ``data``.
TOGETHER: dict[str, Any] = {
    "POST /api/v1/approvals": {"expires_at": None, "answer": None, "max_length": None, "needed": None},
    "POST /api/v1/approvals/{approval_id}/decide": {"text": None},
    "POST /api/v1/keys": {"expires_at": None},
    "POST /api/v1/templates/preview": {
        **dict.fromkeys(("expires_at", "dedup_key", "dedup_window", "attachments")),
        **dict.fromkeys(("digest_key", "digest_window")),
        **dict.fromkeys(("data.answer", "data.max_length", "data.needed")),
    },
    "POST /api/v1/routes/test": {"event": {"type": "task_completion", "title": "Build finished"}},
}


async def test_what_the_examples_show_is_taken(bridge: httpx.AsyncClient, document: dict[str, Any]) -> None:
    """Each operation is asked by its own examples; what is not there is not found, and no input is wrong."""

    async def ready() -> bool:
        return (await bridge.get("/health/ready")).status_code == 200

    await until(ready)  # a service is not ready before its first measurement
    for name, operation in whole(document):
        method, path = name.split()
        if path == "/api/v1/stream" or path.startswith("/telegram"):
            continue  # one never ends, the other is for Telegram's secret alone
        given: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}}
        for parameter in operation.get("parameters", []):
            given[parameter["in"]][parameter["name"]] = parameter["schema"]["examples"][0]
        headers = {key: str(value) for key, value in given["header"].items() if "CCTelegram" not in key}
        for number, body in enumerate(bodies(document, operation, TOGETHER.get(name, {}))):
            if "Idempotency-Key" in headers:
                headers["Idempotency-Key"] = f"{name} {number}"
            sent = {"content": b"a file"} if path == "/api/v1/files" else {"json": body}
            answer = await bridge.request(
                method, path.format(**given["path"]), params=given["query"], headers=headers, **sent
            )
            assert str(answer.status_code) in operation["responses"], (name, answer.text)
            assert answer.status_code < 300 or answer.status_code in (307, 404, 409), (
                name,
                body,
                answer.text,
            )


def bodies(document: dict[str, Any], operation: dict[str, Any], together: dict[str, Any]) -> list[Any]:
    media = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if media is None:
        return [None]
    if "examples" in media:
        return [example["value"] for example in media["examples"].values()]
    made = shown(document, media["schema"])
    for name in together:
        outer, _, inner = name.partition(".")
        (made[outer] if inner else made).pop(inner or outer, None)
    return [made | {key: value for key, value in together.items() if value is not None}]


def shown(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    """What the examples of a schema's fields make together."""
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return shown(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return shown(document, schema["anyOf"][0])
    if schema.get("type") == "array":
        return [shown(document, schema["items"])]
    if "enum" in schema:
        return schema["enum"][0]
    return {name: shown(document, field) for name, field in schema["properties"].items()}
