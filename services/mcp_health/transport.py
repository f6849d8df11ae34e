"""How calls between the services travel: encrypted, within this machine, or plain over some network."""

import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import psutil

from services.mcp_health.compliance import Measurement, Status
from services.mcp_health.posture import is_loopback

PUBLIC = "plain, public"
#: What a person can see who stands where this program does not.
CHECK_NETWORK = (
    "On the host: `docker network inspect` should say the driver bridge, which does not leave it; an overlay"
    " leaves it plain unless it was made with `--opt encrypted`."
)


@dataclass(frozen=True, slots=True)
class Network:
    """What this process sees of its network.

    Args:
        own: addresses of this machine, or of this container.
        links: networks that it is on itself.
        resolved: the addresses of each host name; empty where it has none now.
    """

    own: frozenset[str]
    links: tuple[IPv4Network | IPv6Network, ...]
    resolved: Mapping[str, Sequence[str]]


def network(hosts: Iterable[str]) -> Network:
    """Looks; waits for the resolver, so call it in a thread."""
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


def measure(addresses: Mapping[str, str], seen: Network, now: float) -> Measurement:
    """Encrypted or on this machine passes; plain to a public address fails; a private network is unseen."""
    kinds = {name: _transport(url, seen) for name, url in addresses.items()}
    evidence: dict[str, Any] = {"addresses": kinds}
    if any(kind.startswith(PUBLIC) for kind in kinds.values()):
        return Measurement(Status.FAILED, evidence, now)
    if any(kind.startswith("plain") for kind in kinds.values()):
        reason = "whether a private network stays on this host cannot be seen from inside it"
        return Measurement(Status.UNKNOWN, evidence | {"reason": reason, "check": CHECK_NETWORK}, now)
    return Measurement(Status.PASSED if kinds else Status.UNKNOWN, evidence, now)


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
