"""The proxy for calls to Telegram: parses TELEGRAM_PROXY_URL.

A URL with a user and a password is a secret: no error and no ``repr`` of this module repeats them.
"""

from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

SCHEMES = ("http", "https", "socks5", "socks5h")
#: SOCKS5 gives one byte to the length of a user name or password (RFC 1929).
LONGEST_CREDENTIAL = 255
_FORM = (
    "write http://host:port, https://host:port or socks5://host:port; user:password@ stands before the host,"
    " with %-escapes for special characters"
)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy server. Printing it shows neither user nor password.

    Args:
        scheme: ``http`` or ``https`` for a proxy that understands CONNECT, ``socks5`` for SOCKS5.
        host: name or address.
        port: TCP port.
        user: empty when the proxy asks for no password.
        password: of that user.
    """

    scheme: str
    host: str
    port: int
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse(url: str) -> Proxy:
    """Parses a proxy URL such as ``socks5://user:password@127.0.0.1:1080``.

    ``socks5h`` is the same as ``socks5``: the proxy resolves the host names in both.

    Raises:
        ValueError: the URL is malformed. The message says what to write and does not repeat the URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"this is not a URL; {_FORM}") from None
    if parts.scheme not in SCHEMES:
        raise ValueError(f"the scheme is none of {', '.join(SCHEMES)}; {_FORM}")
    if not parts.hostname or not port:
        raise ValueError(f"the host or the port is missing; {_FORM}")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"nothing may follow the port; {_FORM}")
    user, password = _credentials(parts)
    return Proxy(parts.scheme.removesuffix("h"), parts.hostname, port, user, password)


def _credentials(parts: SplitResult) -> tuple[str, str]:
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if bool(user) != bool(password):
        raise ValueError(f"give a user and a password, or neither; {_FORM}")
    if ":" in user:
        raise ValueError(f"a user name cannot contain a colon; {_FORM}")
    for text in (user, password):
        if len(text) > LONGEST_CREDENTIAL or (text and not (text.isascii() and text.isprintable())):
            raise ValueError(
                f"user and password are printable ASCII, at most {LONGEST_CREDENTIAL} characters"
            )
    return user, password
