"""Which addresses a webhook may call. A client's URL must not reach what only we can reach (SSRF).

The address of each connection is checked when its socket is created, however the URL spelled it and
whatever its host name resolved to a moment before. Redirects are not followed.
"""

import errno
import ipaddress
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from yarl import URL

from services.contracts.fields import LONGEST_URL

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Destinations:
    """The allowed addresses; public ones always are.

    Args:
        private: whether addresses of private networks are allowed too.
        loopback: whether addresses of this machine are allowed too.
    """

    private: bool = False
    loopback: bool = False

    def refusal(self, url: str) -> str | None:
        """Why a URL is not allowed; None if nothing in the URL forbids it."""
        try:
            parts = urlsplit(url)
            # Parsed as the HTTP client does, which accepts unusual spellings of an address.
            host = URL(url).raw_host
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
            last = host.rstrip(".").rpartition(".")[2]
            return "this address is spelled in no usual way" if last.isdigit() else None
        return None if self.allows(address) else "this address is private (WEBHOOK_ALLOW_PRIVATE)"

    def allows(self, address: Address) -> bool:
        plain = _plain(address)
        if plain.is_loopback:
            return self.loopback or self.private
        if plain.is_multicast or plain.is_unspecified or plain.is_link_local:
            # A cloud's metadata service is link-local; no webhook is.
            return False
        return self.private or (plain.is_global and not any(plain in network for network in _NOT_GLOBAL))


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 address embeds, or the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.sixtofour is not None:
            return address.sixtofour
        if address not in _OWN and any(address in network for network in _AROUND_IPV4):
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


#: IPv4-mapped, IPv4-compatible, and translated addresses (stateless and NAT64).
_AROUND_IPV4 = tuple(map(ipaddress.ip_network, ("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
#: Networks whose ``is_global`` differs between Python releases.
_NOT_GLOBAL = tuple(
    map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "fec0::/10"))
)
#: Unspecified and loopback.
_OWN = (ipaddress.IPv6Address("::"), ipaddress.IPv6Address("::1"))


class NotAllowedError(OSError):
    """A connection to an address that is not allowed."""


@dataclass(frozen=True, slots=True)
class GuardedSockets:
    """Creates sockets for allowed addresses only."""

    allowed: Destinations

    def __call__(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for an address as ``getaddrinfo`` returns it.

        Raises:
            NotAllowedError: the address is private.
        """
        family, kind, protocol, _, (host, *_) = info
        if not self.allowed.allows(ipaddress.ip_address(host.partition("%")[0])):
            raise NotAllowedError(errno.EACCES, f"{host} is a private address (WEBHOOK_ALLOW_PRIVATE)")
        return socket.socket(family, kind, protocol)
