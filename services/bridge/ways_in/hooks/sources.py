"""The products whose webhooks are read, and how each proves who it is. Pure."""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from services.bridge.ways_in.hooks import github, gitlab, grafana, healthchecks, sentry, uptime_kuma

#: Whether a header proves the secret, given header, secret, body and all headers.
Proof = Callable[[str, bytes, bytes, Mapping[str, str]], bool]
_TIMESTAMP = "x-grafana-alerting-timestamp"


@dataclass(frozen=True, slots=True)
class Source:
    """A product.

    Args:
        read: makes the fields of an event of a body and its kind.
        kind: header that names the kind of a webhook; empty: there is one kind.
        delivery: header with the ID of a delivery; empty: there is none.
        proof: header that proves the secret of the settings; empty: the key is needed.
        holds: whether it does.
    """

    read: Callable[[bytes, str], dict[str, Any]]
    kind: str = ""
    delivery: str = ""
    proof: str = ""
    holds: Proof = lambda _header, _secret, _body, _headers: False


def _digest(secret: bytes, text: bytes) -> str:
    return hmac.new(secret, text, hashlib.sha256).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _of_github(header: str, secret: bytes, body: bytes, _: Mapping[str, str]) -> bool:
    return _same(header, f"sha256={_digest(secret, body)}")


def _of_gitlab(header: str, secret: bytes, _: bytes, __: Mapping[str, str]) -> bool:
    return _same(header, secret.decode())


def _of_body(header: str, secret: bytes, body: bytes, _: Mapping[str, str]) -> bool:
    return _same(header, _digest(secret, body))


def _of_grafana(header: str, secret: bytes, body: bytes, headers: Mapping[str, str]) -> bool:
    at = headers.get(_TIMESTAMP, "")
    return _same(header, _digest(secret, f"{at}:".encode() + body if at else body))


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "github": Source(
            github.read, "x-github-event", "x-github-delivery", "x-hub-signature-256", _of_github
        ),
        "gitlab": Source(gitlab.read, "x-gitlab-event", "x-gitlab-event-uuid", "x-gitlab-token", _of_gitlab),
        "grafana": Source(grafana.read, "", "", "x-grafana-alerting-signature", _of_grafana),
        "sentry": Source(
            sentry.read, "sentry-hook-resource", "request-id", "sentry-hook-signature", _of_body
        ),
        "healthchecks": Source(healthchecks.read),
        "uptime-kuma": Source(uptime_kuma.read),
    }
)
