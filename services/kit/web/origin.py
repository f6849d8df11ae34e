"""Which web page a request comes from, for routes that need no key: a browser sends any page's requests.

A page of another website can send a request to a service on its user's machine, though it cannot read the
response. With a name of its own that resolves to 127.0.0.1 it can read it too (DNS rebinding): then the name
stands in the Host header.
"""

import ipaddress
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from services.kit.errors import Problem

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN = ("same-origin", "none")
_OTHER_SITE = Problem(403, "Forbidden", "This came from another site's page.")


def same_origin(connection: HTTPConnection) -> bool:
    """Whether a page of the service sent this request; programs other than browsers send no origin."""
    origin = connection.headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc == connection.headers.get("host")
    return connection.headers.get("sec-fetch-site", "none") in _OWN


def is_own_host(host: str, allowed: Collection[str]) -> bool:
    """Whether a Host header names this machine or an allowed name.

    Args:
        host: the header; a port is ignored.
        allowed: names, in lower case.

    Returns:
        True for an IP address, a name without a dot (``localhost``, ``telegram-sandbox``), ``*.localhost``,
        and allowed names: no website has such a name.
    """
    name = _name(host)
    if name in allowed or name.endswith(".localhost"):
        return True
    if "." not in name and ":" not in name:
        return bool(name)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return "."


def may_change(scope: Scope) -> bool:
    """Whether an HTTP request may change something, by its method."""
    return scope["method"] not in _SAFE


class OwnPagesOnly:
    """Refuses requests that a browser sends for a page of another website.

    Args:
        app: the next ASGI application; its routes need no key.
        hosts: names of the service beside IP addresses and names without a dot.
        changes: whether an HTTP request may change something; other requests may be links on other sites.
    """

    def __init__(
        self, app: ASGIApp, hosts: Collection[str] = (), changes: Callable[[Scope], bool] = may_change
    ) -> None:
        self.app = app
        self._hosts = frozenset(name.lower() for name in hosts)
        self._changes = changes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await refusal.response()(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _refusal(self, scope: Scope) -> Problem | None:
        connection = HTTPConnection(scope)
        host = connection.headers.get("host", "")
        if host and not is_own_host(host, self._hosts):
            detail = f"This service has no name {_name(host)}: name it in ALLOWED_HOSTS."
            return Problem(421, "Misdirected Request", detail)
        if same_origin(connection):
            return None
        is_link = connection.headers.get("sec-fetch-mode") == "navigate"
        if scope["type"] == "http" and is_link and not self._changes(scope):
            return None
        return _OTHER_SITE
