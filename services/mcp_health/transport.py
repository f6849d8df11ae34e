"""Measures whether calls between the services are encrypted, or stay on the host."""

import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import psutil

from services.contracts.health import ControlStatus
from services.mcp_health.compliance import Finding
from services.mcp_health.posture import is_loopback

PUBLIC = "plain, public"
#: What a person can check on the host, which this process cannot see.
CHECK_NETWORK = (
    "On the host: `docker network inspect` should show the driver bridge, which stays on the host; an overlay"
    " leaves it in plain unless it was created with `--opt encrypted`."
)


@dataclass(frozen=True, slots=True)
class Network:
    """The network of this process.

    Args:
        own: addresses of the machine or container.
        links: networks that it is connected to.
        resolved: addresses of each host name; empty if it has none.
    """

    own: frozenset[str]
    links: tuple[IPv4Network | IPv6Network, ...]
    resolved: Mapping[str, Sequence[str]]


def network(hosts: Iterable[str]) -> Network:
    """Reads the network; it waits for the resolver, so call it in a thread."""
    addresses = [
        (each.address.partition("%")[0], each.netmask)
        for interface in psutil.net_if_addrs().values()
        for each in interface
        if each.family in (socket.AF_INET, socket.AF_INET6) and each.netmask
    ]
    links = {ip_network(f"{ip}/{_prefix(mask)}", strict=False) for ip, mask in addresses}
    return Network(
        frozenset(ip for ip, _ in addresses), tuple(links), {host: _resolved(host) for host in set(hosts)}
    )


def _prefix(mask: str) -> int:
    return int(ip_address(mask)).bit_count()


def _resolved(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(address[0]).partition("%")[0] for *_, address in found})


def measure(addresses: Mapping[str, str], seen: Network, now: float) -> Finding:
    """Passed: encrypted or on this machine. Failed: plain to a public address. Unknown: a private network."""
    kinds = {name: _transport(url, seen) for name, url in addresses.items()}
    evidence: dict[str, Any] = {"addresses": kinds}
    if any(kind.startswith(PUBLIC) for kind in kinds.values()):
        return Finding(ControlStatus.FAILED, evidence, now)
    if any(kind.startswith("plain") for kind in kinds.values()):
        reason = "this process cannot see whether a private network stays on the host"
        return Finding(ControlStatus.UNKNOWN, evidence | {"reason": reason, "check": CHECK_NETWORK}, now)
    return Finding(ControlStatus.PASSED if kinds else ControlStatus.UNKNOWN, evidence, now)


def _transport(url: str, seen: Network) -> str:
    parts = urlsplit(url)
    if parts.scheme == "https":
        return "encrypted"
    host = parts.hostname or ""
    found = seen.resolved.get(host, ())
    if is_loopback(host) or (found and all(ip in seen.own or is_loopback(ip) for ip in found)):
        return "this machine"
    if not found:
        return "plain, no address now"
    public = [ip for ip in found if ip_address(ip).is_global]
    if public:
        return f"{PUBLIC}: {', '.join(public)}"
    links = {str(link) for link in seen.links for ip in found if ip_address(ip) in link}
    return f"plain, next to this one: {', '.join(sorted(links))}" if links else f"plain: {', '.join(found)}"
