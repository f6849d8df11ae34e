"""Checks links as TDLib does, with its texts (HttpUrl.cpp `parse_url`, LinkManager.cpp `check_link_impl`)."""

import re
import socket
import string
from dataclasses import dataclass

MAX_PORT = 65_535
MAX_USER_ID = (1 << 40) - 1
SPACE = " \t\r\n\0\v"
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
SCHEME = re.compile(r"(?P<name>[^:/?#@\[\]]*)://")
APP = re.compile(r"(?P<scheme>tg|ton|tonsite):(?://)?", re.IGNORECASE | re.ASCII)
HOST_PART = re.compile(r"(?:[A-Za-z0-9.\-_!$,~*'();&+=\x80-\U0010ffff]|%[0-9A-Fa-f]{2})*")
USER_PART = re.compile(r"(?:[A-Za-z0-9.\-_!$,~*'();&+=:\x80-\U0010ffff]|%[0-9A-Fa-f]{2})*")
IPV6 = re.compile(r"\[[0-9a-f:.]*\]")
APP_HOST = {
    "tg": re.compile(r"[a-z0-9_-]*"),
    "ton": re.compile(r"[a-z0-9_-]*"),
    "tonsite": re.compile(r"[a-z0-9._-]*"),
}
USER = re.compile(r"tg:(?://)?user/?\?(?P<query>[^#]*)")
NUMBER = re.compile(r"0|-?[1-9][0-9]*")


class LinkError(Exception):
    """An invalid link; the text is TDLib's reason."""


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """An HTTP URL in its parts. `port` is 0 if the URL names none; `query` is what follows the host."""

    scheme: str
    user: str
    host: str
    port: int
    query: str

    @property
    def is_ipv6(self) -> bool:
        return self.host.startswith("[")

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{user}{self.host}{port}{self.query}"


def parse(url: str, default_scheme: str = "http") -> HttpUrl:
    """Parses a URL as TDLib does.

    Raises:
        LinkError: it is invalid.
    """
    scheme, rest = default_scheme, url
    if found := SCHEME.match(url):
        scheme, rest = found["name"].translate(LOWER), url[found.end() :]
        if scheme not in {"http", "https"}:
            raise LinkError("Unsupported URL protocol")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    place, port = _port(authority)
    user, _, host = place.rpartition("@")
    _check_host(host, user)
    return HttpUrl(scheme, user, host.translate(LOWER), port, _query(rest[len(authority) :]))


def check(url: str, *, http_only: bool = False, https_only: bool = False) -> str:
    """Returns the normalized link.

    Raises:
        LinkError: it is invalid; the text is TDLib's, with the URL and the reason.
    """
    try:
        return _check(url, http_only=http_only, https_only=https_only)
    except LinkError as error:
        raise LinkError(f"URL '{url}' is invalid: {error}") from None


def checked(url: str) -> str | None:
    """Returns the normalized link; None if it is invalid, which drops a link in markup without an error."""
    try:
        return _check(url)
    except LinkError:
        return None


def user_id(url: str) -> int | None:
    """Returns the id in a tg://user?id= link; None for other links."""
    found = USER.match(url.translate(LOWER))
    if found is None:
        return None
    pairs = (part.partition("=") for part in found["query"].split("&"))
    value = next((value for key, _, value in pairs if key == "id"), "")
    number = int(value) if NUMBER.fullmatch(value) and len(value) < len(str(MAX_USER_ID)) + 1 else 0
    return number if 0 < number <= MAX_USER_ID else None


def _check(url: str, *, http_only: bool = False, https_only: bool = False) -> str:
    app = APP.match(url)
    parsed = parse(url[app.end() :] if app else url)
    if https_only and (app or parsed.scheme != "https"):
        raise LinkError("Only HTTPS links are allowed")
    if app:
        if http_only:
            raise LinkError("Only HTTP links are allowed")
        return _app(app["scheme"].translate(LOWER), url[app.end() :], parsed)
    if "." not in parsed.host and not parsed.is_ipv6:
        raise LinkError("Wrong HTTP URL")
    return str(parsed)


def _app(scheme: str, rest: str, parsed: HttpUrl) -> str:
    named = SCHEME.match(rest) is not None
    if named or parsed.user or parsed.port or parsed.is_ipv6:
        raise LinkError("Wrong tg URL" if scheme == "tg" else "Wrong ton URL")
    if not APP_HOST[scheme].fullmatch(parsed.host):
        raise LinkError("Unallowed characters in URL host")
    query = parsed.query[1:] if parsed.query.startswith("/?") else parsed.query
    return f"{scheme}://{parsed.host}{query}"


def _port(authority: str) -> tuple[str, int]:
    """Returns user and host, and the port; 0: none."""
    at = max(authority.rfind(mark, 1) for mark in ":]@")
    if at < 1 or authority[at] != ":":
        return authority, 0
    digits = authority[at + 1 :]
    number = digits.lstrip("0")
    if not (digits.isascii() and digits.isdigit()) or not number or len(number) > len(str(MAX_PORT)):
        raise LinkError("Wrong port number specified in the URL")
    if int(number) > MAX_PORT:
        raise LinkError("Wrong port number specified in the URL")
    return authority[:at], int(number)


def _check_host(host: str, user: str) -> None:
    if host.startswith("[") and host.endswith("]"):
        _check_ipv6(host)
        return
    if not host:
        raise LinkError("URL host is empty")
    if host == ".":
        raise LinkError("Host is invalid")
    for part, allowed, name in ((host, HOST_PART, "host"), (user, USER_PART, "userinfo")):
        found = allowed.match(part)
        end = found.end() if found else 0
        if end < len(part):
            if part[end] == "%":
                raise LinkError(f"Wrong percent-encoded symbol in URL {name}")
            raise LinkError(f"Disallowed character in URL {name}")


def _check_ipv6(host: str) -> None:
    try:
        socket.inet_pton(socket.AF_INET6, host[1:-1])
    except (OSError, ValueError):
        raise LinkError("Wrong IPv6 address specified in the URL") from None
    if not IPV6.fullmatch(host.translate(LOWER)):
        raise LinkError("Wrong IPv6 URL host")


def _query(rest: str) -> str:
    rest = rest.rstrip(SPACE) or "/"
    rest = rest if rest.startswith("/") else f"/{rest}"
    return "".join(f"%{ord(char):02X}" if char <= " " else char for char in rest)
