"""The mail server of SMTP_URL. Pure."""

import re
from dataclasses import dataclass, field
from email.utils import formataddr, parseaddr
from enum import StrEnum
from urllib.parse import parse_qsl, unquote, urlsplit

from services.alert_relay.channels.target import Channel, Target

_FORM = "write smtp://user:password@host:port or smtps://user:password@host:port"
_PORTS = {"smtp": 587, "smtps": 465}
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


class Encryption(StrEnum):
    """When a connection is encrypted."""

    AUTO = "auto"  #: once the server offers STARTTLS; with a user name it has to
    REQUIRED = "required"  #: by STARTTLS; without it nothing is sent
    NEVER = "never"
    IMPLICIT = "implicit"  #: from the start, smtps


@dataclass(frozen=True, slots=True)
class MailServer:
    """A mail server, and how alert-relay logs in there."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    encryption: Encryption


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The sender of mails."""

    name: str
    address: str

    def __str__(self) -> str:
        return formataddr((self.name, self.address))

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


def parse(url: str) -> MailServer:
    """Returns the mail server that a URL names.

    Raises:
        ValueError: it names none; the error quotes nothing, since the URL may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"this is no URL; {_FORM}") from None
    if parts.scheme not in _PORTS or not parts.hostname or _CONTROL.search(url) or parts.path.strip("/"):
        raise ValueError(f"this is no URL of a mail server; {_FORM}")
    if bool(parts.username) != bool(parts.password):
        raise ValueError(f"a user name and a password belong together; {_FORM}")
    return MailServer(
        parts.hostname,
        _PORTS[parts.scheme] if port is None else port,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        _encryption(parts.scheme, dict(parse_qsl(parts.query, keep_blank_values=True))),
    )


def _encryption(scheme: str, query: dict[str, str]) -> Encryption:
    wanted = query.pop("starttls", None)
    if query:
        raise ValueError("the only parameter is starttls=auto, starttls=required or starttls=never")
    if scheme == "smtps":
        if wanted is not None:
            raise ValueError("smtps:// is encrypted from the start; leave starttls out, or write smtp://")
        return Encryption.IMPLICIT
    possible = (Encryption.AUTO, Encryption.REQUIRED, Encryption.NEVER)
    if wanted is not None and wanted not in possible:
        raise ValueError("write starttls=auto, starttls=required or starttls=never")
    return Encryption(wanted or Encryption.AUTO)


def mailbox(text: str) -> Mailbox:
    """Returns the sender that a text names: ``alerts@example.com`` or ``Alerts <alerts@example.com>``.

    Raises:
        ValueError: it names none.
    """
    name, address = parseaddr(text)
    if not address or any(ord(character) < ord(" ") for character in text):
        raise ValueError("write alerts@example.com, or Alerts <alerts@example.com>")
    return Mailbox(name, Target.parse(f"{Channel.EMAIL}:{address}").address)
