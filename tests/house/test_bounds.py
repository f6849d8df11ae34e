"""Everything that a request may carry has bounds, read off the OpenAPI document of every service.

An input without a bound is accepted today and breaks a serializer, an index or a page tomorrow: a number that
no column stores, a text that no database takes, an object that no parser reads again.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from services.alert_relay.app import create_app as alert_relay
from services.alert_relay.settings import AlertRelaySettings
from services.bridge.app import create_app as bridge
from services.bridge.settings import BridgeSettings
from services.contracts.fields import DEEPEST_DETAILS, LARGEST_DETAILS
from services.dashboard.app import create_app as dashboard
from services.dashboard.settings import DashboardSettings
from services.kit.web import openapi
from services.kit.web.strict_request import known_query
from services.mcp_health.app import create_app as mcp_health
from services.mcp_health.settings import McpHealthSettings
from services.telegram_sandbox.app import create_app as telegram_sandbox
from services.telegram_sandbox.settings import SandboxSettings

Schema = dict[str, Any]
NOWHERE = "http://127.0.0.1:1"
#: The longest text of any request; the body of a request has MAX_BODY_BYTES.
LONGEST = 1 << 24
#: A binary is a file, which MAX_FILE_BYTES limits.
BOUNDED_FORMATS = {"binary", "date-time", "uuid"}
#: Texts that no column holds, by service: a pattern of their fields.
MAY_HAVE_NUL = {
    # They are stored as JSON, and shown without NUL.
    "bridge": re.compile(r"^(event\.)?(description$|data\.)"),
    # An alert that is refused is lost: NUL is replaced.
    "alert_relay": re.compile(""),
    # Compared, not stored.
    "dashboard": re.compile("^(username|password)$"),
    # It has no database.
    "telegram_sandbox": re.compile(""),
}
NONE = re.compile("(?!)")


def make_bridge(folder: Path) -> FastAPI:
    return bridge(BridgeSettings(data_dir=folder, telegram_api_url=NOWHERE))


def make_alert_relay(folder: Path) -> FastAPI:
    return alert_relay(AlertRelaySettings(data_dir=folder, telegram_api_url=NOWHERE))


def make_dashboard(folder: Path) -> FastAPI:
    return dashboard(DashboardSettings(data_dir=folder))


def make_mcp_health(folder: Path) -> FastAPI:
    return mcp_health(McpHealthSettings(data_dir=folder))


def make_sandbox(folder: Path) -> FastAPI:
    return telegram_sandbox(SandboxSettings(data_dir=folder))


SERVICES: dict[str, Callable[[Path], FastAPI]] = {
    "bridge": make_bridge,
    "alert_relay": make_alert_relay,
    "dashboard": make_dashboard,
    "mcp_health": make_mcp_health,
    "telegram_sandbox": make_sandbox,
}


class Walk:
    """Follows every schema of a document's requests and notes what has no bound."""

    def __init__(self, document: Schema, may_have_nul: re.Pattern[str] = NONE) -> None:
        self.document = document
        self.found: list[str] = []
        self.schemas = 0
        self._may_have_nul = may_have_nul

    def all_of(self) -> list[str]:
        for method, path, operation in openapi.operations(self.document):
            name = f"{method} {path}"
            for parameter in operation.get("parameters", ()):
                field = "header" if parameter["in"] == "header" else parameter["name"]
                self.schema(parameter["schema"], name, field)
            for content in operation.get("requestBody", {}).get("content", {}).values():
                self.schema(content["schema"], name, "")
        return self.found

    def schema(self, schema: Schema, at: str, field: str) -> None:
        schema = self.resolved(schema)
        self.schemas += 1
        parts = [part for kind in ("anyOf", "oneOf", "allOf") for part in schema.get(kind, ())]
        for part in parts:
            self.schema(part, at, field)
        if parts or "enum" in schema or "const" in schema or schema.get("type") in ("boolean", "null"):
            return
        why = self.unbounded(schema, at, field)
        if why:
            self.found.append(f"{at} {field}: {why}")

    def resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema

    def unbounded(self, schema: Schema, at: str, field: str) -> str:
        match schema.get("type"):
            case "integer":
                return "" if _is_64_bit(schema) else "an integer without bounds of 64 bits"
            case "number":
                return "" if _is_finite(schema) else "a number without bounds"
            case "string":
                return self.unbounded_text(schema, field)
            case "array":
                for item in (*schema.get("prefixItems", ()), schema.get("items", {})):
                    self.schema(item, at, field)
                return "" if schema.get("maxItems", LONGEST) < LONGEST else "a list without maxItems"
            case "object":
                return self.unbounded_object(schema, at, field)
        return f"any JSON value: {schema}"

    def unbounded_object(self, schema: Schema, at: str, field: str) -> str:
        if schema.get("x-max-bytes") == LARGEST_DETAILS and schema.get("x-max-depth") == DEEPEST_DETAILS:
            return ""
        for name, inner in schema.get("properties", {}).items():
            self.schema(inner, at, f"{field}.{name}".lstrip("."))
        more = schema.get("additionalProperties", schema.get("properties") is None)
        if more is False:
            return ""
        if isinstance(more, dict):
            self.schema(more, at, f"{field}.*")
            if "propertyNames" in schema:
                self.schema({"type": "string"} | schema["propertyNames"], at, f"{field} (a name)")
            elif "patternProperties" not in schema:
                return "names without maxLength"
            return "" if schema.get("maxProperties", LONGEST) < LONGEST else "an object without maxProperties"
        return "an object with any fields"

    def unbounded_text(self, schema: Schema, field: str) -> str:
        if schema.get("format") in BOUNDED_FORMATS:
            return ""
        pattern = schema.get("pattern", "")
        if field == "header":  # the HTTP server limits the head of a request, and allows no NUL in it
            return ""
        if schema.get("maxLength", LONGEST) >= LONGEST and not _is_bounded(pattern):
            return "a text without maxLength"
        may_have_nul = self._may_have_nul.search(field)
        if not may_have_nul and not (pattern and not re.search(pattern, "a\0")):
            return "a text that may have NUL"
        return ""


def _bounds(schema: Schema) -> tuple[float, float]:
    """The smallest and the largest number of a schema; infinite where there is none."""
    lows = [schema[name] for name in ("minimum", "exclusiveMinimum") if name in schema]
    highs = [schema[name] for name in ("maximum", "exclusiveMaximum") if name in schema]
    return max(lows, default=-math.inf), min(highs, default=math.inf)


def _is_64_bit(schema: Schema) -> bool:
    low, high = _bounds(schema)
    return -(2**63) <= low <= high < 2**63


def _is_finite(schema: Schema) -> bool:
    low, high = _bounds(schema)
    return math.isfinite(low) and math.isfinite(high)


def _is_bounded(pattern: str) -> bool:
    anchored = pattern.startswith("^") and pattern.endswith("$")
    return anchored and not re.search(r"(?<!\\)[*+]|,\}", pattern)


@pytest.mark.parametrize("name", SERVICES)
def test_every_integer_text_list_and_object_of_a_request_has_bounds(name: str, tmp_path: Path) -> None:
    walk = Walk(SERVICES[name](tmp_path).openapi(), MAY_HAVE_NUL.get(name, NONE))
    assert walk.all_of() == []
    assert walk.schemas > 0


@pytest.mark.parametrize("name", SERVICES)
def test_every_route_refuses_query_parameters_that_it_does_not_have(name: str, tmp_path: Path) -> None:
    """But pages, the common ones, which other programs poll, and fast routes, which take POST alone."""
    app = SERVICES[name](tmp_path)
    lenient = {
        str(route.path)
        for route in iter_route_contexts(app.routes)
        if isinstance(route.original_route, APIRoute)
        and known_query not in [dependency.call for dependency in route.dependant.dependencies]
    }
    fast = {"/events", "/api/v1/events"} if name == "bridge" else set()
    pages = {"/", "/docs", "/docs/files/{name}", "/redoc"}
    assert lenient == {"/health", "/health/live", "/health/ready", "/metrics"} | pages | fast
    assert app.router.redirect_slashes is False


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "integer"},
        {"type": "integer", "minimum": 0},
        {"type": "integer", "minimum": 0, "maximum": 2**63},
        {"type": "number", "minimum": 0},
        {"type": "string"},
        {"type": "string", "maxLength": 5},
        {"type": "string", "pattern": "^[a-z]+$"},
        {"type": "array", "items": {"type": "boolean"}},
        {"type": "array", "maxItems": 5, "items": {"type": "integer"}},
        {"type": "array", "maxItems": 5},
        {"type": "object"},
        {"type": "object", "additionalProperties": True},
        {"type": "object", "additionalProperties": {"type": "boolean"}},
        {"type": "object", "properties": {"a": {"type": "integer"}}},
        {"type": "object", "maxProperties": 5, "additionalProperties": {"type": "boolean"}},
        {"anyOf": [{"type": "null"}, {"type": "integer"}]},
    ],
)
def test_the_walk_finds_what_has_no_bounds(schema: Schema) -> None:
    content = {"application/json": {"schema": schema}}
    walk = Walk({"paths": {"/a": {"post": {"requestBody": {"content": content}}}}})
    assert len(walk.all_of()) == 1


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "boolean"},
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
        {"type": "number", "minimum": -1, "maximum": 1},
        {"type": "string", "maxLength": 5, "pattern": r"^[^\x00]*$"},
        {"type": "string", "pattern": "^[a-z]{1,3}$"},
        {"type": "string", "format": "uuid"},
        {"type": "array", "maxItems": 5, "items": {"const": 1}},
        {"type": "object", "additionalProperties": False},
        # Unknown fields are ignored.
        {"type": "object", "properties": {"a": {"type": "boolean"}}},
        {
            "type": "object",
            "additionalProperties": {"type": "boolean"},
            "propertyNames": {"maxLength": 5, "pattern": r"^[^\x00]*$"},
            "maxProperties": 5,
        },
    ],
)
def test_the_walk_passes_what_has_bounds(schema: Schema) -> None:
    content = {"application/json": {"schema": schema}}
    walk = Walk({"paths": {"/a": {"post": {"requestBody": {"content": content}}}}})
    assert walk.all_of() == []
