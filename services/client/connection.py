"""Finds the URLs and the key: arguments, environment, configuration file, a suite on this machine.

The first of the four that has a URL wins. A key of the file or of this machine is used only for the bridge
that it belongs to, so that no other server gets it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from services.client import sources
from services.client.call import Service
from services.client.settings import ClientSettings
from services.client.sources import Source

#: Ports of the services where nothing else is set.
PORTS: Mapping[Service, int] = {
    Service.BRIDGE: 8080,
    Service.ALERT_RELAY: 8081,
    Service.DASHBOARD: 8082,
    Service.SANDBOX: 8083,
    Service.MCP_HEALTH: 3000,
}
DEFAULT_URL = f"http://127.0.0.1:{PORTS[Service.BRIDGE]}"


@dataclass(frozen=True, slots=True)
class Connection:
    """The URLs and the key to use.

    Args:
        urls: base URL of each known service; always of the bridge.
        key: API key; None: none was found.
        url_from: where the bridge's URL is from.
        key_from: where the key is from, or why there is none.
    """

    urls: Mapping[Service, str]
    key: str | None = field(repr=False)
    url_from: str
    key_from: str


def find(url: str | None = None, key: str | None = None, urls: Mapping[Service, str] = {}) -> Connection:
    """Finds what the arguments do not give.

    Args:
        url: base URL of the bridge; None: found.
        key: API key; None: found.
        urls: base URLs of other services.

    Raises:
        ConfigurationError: a URL, a key or a file cannot be used.
    """
    settings = ClientSettings()
    return choose(
        (
            sources.arguments(url, key, urls),
            sources.environment(settings),
            sources.configuration_file(settings),
            sources.this_machine(settings),
        )
    )


def choose(found: Sequence[Source]) -> Connection:
    """The URLs and the key of the first sources that have them. Pure."""
    origin = next((source for source in found if Service.BRIDGE in source.urls), None)
    bridge = DEFAULT_URL if origin is None else origin.urls[Service.BRIDGE]
    urls = dict(neighbours(bridge))
    for source in reversed(found):
        if _belongs(source, bridge):
            urls |= source.urls
    key_of = next((source for source in found if source.key is not None and _belongs(source, bridge)), None)
    return Connection(
        urls={**urls, Service.BRIDGE: bridge},
        key=key_of.key if key_of else None,
        url_from=origin.name if origin else "the default",
        key_from=key_of.key_name if key_of else _why_none(found, bridge),
    )


def _why_none(found: Sequence[Source], bridge: str) -> str:
    others = [source.key_name for source in found if source.key is not None]
    return f"the key in {others[0]} is for another bridge than {bridge}" if others else "no key was found"


def _belongs(source: Source, bridge: str) -> bool:
    """Whether what a source says is meant for this bridge."""
    if not source.bound:
        return True
    own = source.urls.get(Service.BRIDGE)
    if source.machine and is_loopback(bridge):
        return True
    return place(own) == place(bridge) if own is not None else not source.machine


def neighbours(bridge: str) -> Mapping[Service, str]:
    """The other services of a bridge at its usual port: on the same host, at their usual ports."""
    parts = urlsplit(bridge)
    if parts.port != PORTS[Service.BRIDGE] or parts.path:
        return {}
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return {service: f"{parts.scheme}://{host}:{port}" for service, port in PORTS.items()}


def place(url: str) -> tuple[str, str, int | None, str]:
    """What two URLs of the same place have in common."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return (
        parts.scheme,
        "localhost" if is_loopback(url) else parts.hostname or "",
        port,
        parts.path.rstrip("/"),
    )


def is_loopback(url: str) -> bool:
    """Whether a URL is of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
