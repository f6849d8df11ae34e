"""One call of an API as a value: what to send, and how to read the answer. It knows no transport."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar
from urllib.parse import parse_qsl, quote, urlencode
from uuid import uuid4

from pydantic import BaseModel
from pydantic_core import to_json

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

Parameter = str | int | float | bool | datetime | None
Query = Mapping[str, Parameter | Sequence[Parameter]]


class Service(StrEnum):
    """A service of the suite."""

    BRIDGE = "bridge"
    ALERT_RELAY = "alert_relay"
    MCP_HEALTH = "mcp_health"
    DASHBOARD = "dashboard"
    SANDBOX = "sandbox"


#: Seconds without a connection that a wait survives: a restart or an upgrade of the bridge.
OUTAGE_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """A call.

    Args:
        method: HTTP method.
        target: path with its query.
        read: makes the result of the answer's body.
        body: JSON, unless `headers` name another type; None: there is none.
        headers: beside those of every call.
        service: that is called.
        repeatable: whether a repetition is harmless even if the first request had its effect.
        waits: seconds that the service may take on purpose.
        statuses: statuses of answers, beside 2xx, whose body is a result.
        patience: seconds within which failures are retried; None: the client's.
        patience_if_unknown: the same once a request may have had its effect, if that is longer.
    """

    method: str
    target: str
    read: Callable[[bytes], T]
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    service: Service = Service.BRIDGE
    repeatable: bool = False
    waits: float = 0.0
    statuses: frozenset[int] = frozenset()
    patience: float | None = None
    patience_if_unknown: float = 0.0


def get(
    model: type[M],
    target: str,
    query: Query | None = None,
    *,
    service: Service = Service.BRIDGE,
    waits: float = 0.0,
    statuses: frozenset[int] = frozenset(),
) -> Call[M]:
    """A call that reads something."""
    return Call(
        method="GET",
        target=target + _encoded(query or {}),
        read=model.model_validate_json,
        service=service,
        repeatable=True,
        waits=waits,
        statuses=statuses,
    )


def post(model: type[M], target: str, body: object, *, key: str | None = None) -> Call[M]:
    """A call that changes something.

    Args:
        model: of the answer.
        target: path.
        body: what becomes JSON.
        key: Idempotency-Key, which makes repetitions harmless; None: none is sent.
    """
    return Call(
        method="POST",
        target=target,
        read=model.model_validate_json,
        body=json_of(body),
        headers={} if key is None else {"Idempotency-Key": key},
        repeatable=key is not None,
    )


def put(model: type[M], target: str, body: object, query: Query | None = None) -> Call[M]:
    """A call that replaces something."""
    return Call(
        method="PUT",
        target=target + _encoded(query or {}),
        read=model.model_validate_json,
        body=json_of(body),
        repeatable=True,
    )


def patch(model: type[M], target: str, body: object, query: Query | None = None) -> Call[M]:
    """A call that sets the given fields of something; a repetition sets the same."""
    return replace(put(model, target, body, query), method="PATCH")


def next_page(page: Call[T], cursor: str) -> Call[T]:
    """The call for the page after one that was read."""
    target, _, query = page.target.partition("?")
    pairs = [(name, value) for name, value in parse_qsl(query) if name != "cursor"]
    return replace(page, target=f"{target}?{urlencode([*pairs, ('cursor', cursor)])}")


def delete(target: str) -> Call[None]:
    """A call that deletes something."""
    return Call(method="DELETE", target=target, read=_nothing)


def _nothing(_: bytes) -> None:
    """The result of a call without an answer's body."""


def new_key() -> str:
    """A new Idempotency-Key."""
    return str(uuid4())


def path(template: str, *names: object) -> str:
    """Fills the ``{}`` of a path; a name cannot add segments of its own."""
    return template.format(*(quote(str(name), safe="") for name in names))


def json_of(body: object) -> bytes:
    """JSON of a request; of a model only what was set, under the names of the API."""
    return to_json(_plain(body))


def _plain(body: object) -> object:
    if isinstance(body, BaseModel):
        return body.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(body, Mapping):
        return {name: _plain(value) for name, value in body.items()}
    if isinstance(body, list | tuple):
        return [_plain(item) for item in body]
    return body


def given(**values: object) -> dict[str, object]:
    """The values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _encoded(query: Query) -> str:
    pairs = [
        (name, _text(value))
        for name, values in query.items()
        for value in (values if isinstance(values, list | tuple | frozenset | set) else [values])
        if value is not None
    ]
    return f"?{urlencode(pairs)}" if pairs else ""


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime) else str(value)
