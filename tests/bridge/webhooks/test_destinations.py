"""Where a call may go: no private address, however it is spelled."""

import ipaddress
import socket

import pytest

from services.bridge.webhooks.destinations import Destinations, GuardedResolver, NotAllowedError

PUBLIC = Destinations()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/x",
        "file:///etc/passwd",
        "gopher://example.com",
        "example.com/hook",
        "http://",
        "http:///hook",
        "http://user:secret@example.com/",
        "http://exa mple.com/",
        "http://example.com/\r\nX: y",
        "http://example.com:99999/",
        "http://[::1",
        "http://127.0.0.1/",
        "http://127.1.2.3:8080/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://172.16.0.1/",
        "http://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://[::1]/",
        "http://[::]/",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::a00:1]/",
        "http://[2002:a00:1::]/",
        "http://example.com/" + "x" * 2_100,
    ],
)
def test_these_are_refused(url: str) -> None:
    assert PUBLIC.refusal(url) is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "https://example.com:8443/x?y=z",
        "http://93.184.216.34/",
        "https://[2606:4700::1111]/",
    ],
)
def test_these_are_called(url: str) -> None:
    assert PUBLIC.refusal(url) is None


def test_private_addresses_are_called_where_the_setting_says_so_but_never_the_metadata_service() -> None:
    private = Destinations(private=True)
    assert private.refusal("http://10.0.0.1/") is None
    assert private.refusal("http://127.0.0.1/") is None
    assert private.refusal("http://169.254.169.254/") is not None


def test_with_the_sandbox_only_loopback_is_called_besides() -> None:
    sandbox = Destinations(loopback=True)
    assert sandbox.refusal("http://127.0.0.1:9000/") is None
    assert sandbox.refusal("http://[::1]/") is None
    assert sandbox.refusal("http://10.0.0.1/") is not None


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001", "017700000001"])
async def test_a_name_that_leads_to_a_private_address_is_refused_when_it_is_resolved(host: str) -> None:
    resolver = GuardedResolver(PUBLIC)
    with pytest.raises(OSError):  # noqa: PT011 - refused by us, or unknown to this machine's resolver
        await resolver.resolve(host, 80, socket.AF_UNSPEC)
    await resolver.close()


async def test_a_name_that_leads_to_loopback_is_resolved_where_that_is_allowed() -> None:
    resolver = GuardedResolver(Destinations(loopback=True))
    found = await resolver.resolve("localhost", 80, socket.AF_INET)
    assert all(ipaddress.ip_address(one["host"]).is_loopback for one in found)
    await resolver.close()
    refusing = GuardedResolver(PUBLIC)
    with pytest.raises(NotAllowedError):
        await refusing.resolve("localhost", 80, socket.AF_INET)
    await refusing.close()
