"""The client of a request behind a proxy: ``X-Forwarded-For`` and ``X-Forwarded-Proto`` of named proxies.

Anyone can write these headers. They are believed from the addresses in FORWARDED_ALLOW_IPS, and by default
from none: a client could otherwise choose an address, to guess on or to have somebody else blocked.
"""

import ipaddress
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

UNKNOWN = "unknown"
_SCHEMES = {b"http": "http", b"https": "https"}


class Networks:
    """A set of IP addresses.

    Args:
        texts: addresses and networks, such as ``10.0.0.0/8``; ``*`` is every address.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        given = tuple(texts)
        self.has_all = "*" in given
        self._networks = tuple(ipaddress.ip_network(text, strict=False) for text in given if text != "*")

    def __bool__(self) -> bool:
        return self.has_all or bool(self._networks)

    def __contains__(self, address: str) -> bool:
        if self.has_all:
            return True
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._networks)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return (isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped) or parsed


def client_address(scope: Scope, proxies: Networks) -> str:
    """The client's address: of the connection, or what the nearest trusted proxies say.

    ``X-Forwarded-For`` is read from its end, where the nearest proxy wrote, up to the first address that is
    no proxy of ours; what stands before it is the client's own text.
    """
    peer = str(scope["client"][0]) if scope.get("client") else UNKNOWN
    if peer not in proxies:
        return peer
    fields = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    written = [part for part in b",".join(fields).decode("latin-1").split(",") if part.strip()]
    addresses = [_without_port(part.strip()) for part in reversed(written)]
    if proxies.has_all:
        return addresses[0] if addresses else peer
    return next((address for address in addresses if address not in proxies), peer)


def _without_port(text: str) -> str:
    """``1.2.3.4:567`` and ``[::1]:567`` without the port; anything else as it is."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


class ForwardedHeaders:
    """Puts the client's address and the scheme that trusted proxies name into the request.

    Args:
        app: the next ASGI application.
        proxies: that are trusted.
    """

    def __init__(self, app: ASGIApp, proxies: Networks) -> None:
        self.app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = scope.get("client")
        if scope["type"] in ("http", "websocket") and peer and peer[0] in self._proxies:
            scheme = _scheme(scope)
            if scheme is not None:
                scope["scheme"] = scheme if scope["type"] == "http" else scheme.replace("http", "ws")
            scope["client"] = (client_address(scope, self._proxies), 0)
        await self.app(scope, receive, send)


def _scheme(scope: Scope) -> str | None:
    """What the nearest proxy wrote last."""
    fields = [value for name, value in scope["headers"] if name == b"x-forwarded-proto"]
    return _SCHEMES.get(fields[-1].rpartition(b",")[2].strip().lower()) if fields else None
