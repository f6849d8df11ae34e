"""Which URLs Telegram takes as a link. Pure.

A ``text_link`` entity with any other URL makes Telegram refuse the whole message: `entity URL 'http://jenkins/'
is invalid: Wrong HTTP URL`. The rules are those of TDLib, the library inside the Bot API server (HttpUrl.cpp,
``parse_url``; LinkManager.cpp, ``check_link_impl``); a test compares them with it.
"""

import re
from ipaddress import AddressValueError, IPv6Address

#: TDLib cuts longer texts, bytes. A link that is cut leads elsewhere.
LONGEST = 34_996
MOST_PORT = 65_535

_PART = r"[a-z0-9._!$,~*'();&+=\x80-\U0010ffff-]|%[0-9a-f]{2}"
_WEB = re.compile(
    rf"https?://(?:(?P<user>(?:{_PART}|:)*)@|(?P<unchecked>[^/?#]*)@(?=\[))?"
    rf"(?P<host>\[[0-9a-f:.]+\]|(?:{_PART})+)(?::(?P<port>[0-9]+))?(?:[/?#].*)?",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)
_APP = re.compile(r"tg:(?://)?@?[a-z0-9_-]+(?:[/?#].*)?", re.IGNORECASE | re.DOTALL | re.ASCII)
#: TDLib replaces control characters by spaces, and removes some characters, before it reads a URL.
_CLEANED: dict[int, str | None] = {code: " " for code in range(0x20) if chr(code) != "\n"} | dict.fromkeys(
    (*map(ord, "\r\u030a\u0333\u033f"), *range(0x2028, 0x202F))
)


def is_link(url: str) -> bool:
    """Whether Telegram takes the URL as a link.

    It takes ``http`` and ``https`` with an IPv6 address or a host that has a dot, and ``tg``: neither
    ``http://localhost:9090/`` nor ``https://grafana/``.
    """
    try:
        if len(url.encode()) > LONGEST:
            return False
    except UnicodeEncodeError:
        return False
    cleaned = url.translate(_CLEANED)
    found = _WEB.fullmatch(cleaned)
    return _is_web(found) if found else _APP.fullmatch(cleaned) is not None


def _is_web(found: re.Match[str]) -> bool:
    host, port = found["host"], (found["port"] or "1").lstrip("0")
    if not port or len(port) > len(str(MOST_PORT)) or int(port) > MOST_PORT:
        return False
    return _is_ipv6(host[1:-1]) if host.startswith("[") else "." in host and host != "."


def _is_ipv6(address: str) -> bool:
    try:
        IPv6Address(address)
    except AddressValueError:
        return False
    return True
