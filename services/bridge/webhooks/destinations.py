"""Where a call may go. A URL that a client names must not reach what only we can reach.

Addresses are checked when they are resolved for the connection itself, so a name that resolves
to something else a moment later gains nothing. Redirects are not followed.
"""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

LONGEST_URL = 2_048
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Destinations:
    """What is allowed.

    Args:
        private: also addresses that only this network reaches.
        loopback: also this machine itself.
    """

    private: bool = False
    loopback: bool = False

    def refusal(self, url: str) -> str | None:
        """Why a URL is not allowed, as far as it tells by itself; None where it is."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            return "this is no URL"
        if parts.scheme not in ("http", "https"):
            return "only http and https are called"
        if not host or len(url) > LONGEST_URL or any(c.isspace() or ord(c) < ord(" ") for c in url):
            return "this is no URL"
        if parts.username is not None or parts.password is not None:
            return "a URL with a user name or a password is not called"
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return None
        return None if self.allows(address) else "this address is private (WEBHOOK_ALLOW_PRIVATE)"

    def allows(self, address: Address) -> bool:
        plain = _plain(address)
        if plain.is_loopback:
            return self.loopback or self.private
        if plain.is_multicast or plain.is_unspecified or plain.is_link_local:
            # The cloud's metadata service is link-local: nobody's webhook is.
            return False
        return plain.is_global or self.private


def _plain(address: Address) -> Address:
    """The IPv4 address within an IPv6 one that leads to it."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotAllowedError(OSError):
    """The name leads to an address that is not allowed."""


class GuardedResolver(AbstractResolver):
    """Resolves names for the connection, and refuses those that lead where calls may not go."""

    def __init__(self, allowed: Destinations) -> None:
        self._allowed = allowed
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        fine = [
            one for one in found if self._allowed.allows(ipaddress.ip_address(one["host"].partition("%")[0]))
        ]
        if not fine:
            raise NotAllowedError(f"{host} leads to a private address (WEBHOOK_ALLOW_PRIVATE)")
        return fine

    async def close(self) -> None:
        await self._resolver.close()
