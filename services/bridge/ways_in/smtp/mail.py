"""Reads a mail: its subject, text, attachments and importance. Pure.

Mails are read as they come: what is not encoded as it says is shown with replacement characters.
"""

import re
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message

from services.bridge.files import names
from services.bridge.ways_in.smtp import html, parts

#: Longest header that is read, characters.
LONGEST_HEADER = 2_000
#: HTML that is read, bytes of all pages together: its parser's time grows with the square of a tag's
#: length. Longer ones are files.
LONGEST_PAGES = 250_000
#: The urgency of X-Priority (1 is the highest) and of Importance: 1 low, 2 normal, 3 high, 4 highest.
_IMPORTANCE = {"low": 1, "normal": 2, "high": 3}
_PRIORITIES = {"1": 4, "2": 3, "3": 2, "4": 1, "5": 1}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_NUMBER = re.compile(r"\s*([1-5])\b")


@dataclass(frozen=True, slots=True)
class MailFile:
    """An attachment; it has at least one byte."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail.

    Args:
        subject: in one line; may be empty.
        sender: the header From; may be empty.
        text: may be empty.
        files: the attachments, in their order.
        message_id: the header Message-ID; empty: it has none.
        urgency: 1 low, 2 normal, 3 high, 4 highest.
        date: the header Date; empty: it has none.
    """

    subject: str
    sender: str
    text: str
    files: tuple[MailFile, ...]
    message_id: str
    urgency: int
    date: str = ""


def read(content: bytes) -> Mail:
    """Reads a mail.

    Raises:
        Problem: 422, it has too many parts or headers, or they are nested too deeply.
    """
    message = parts.read(content)
    leaves = list(parts.leaves(message))
    covered = _beside_texts(message)
    texts = [part for part in leaves if _is_text(part, "text/plain")]
    pages = [part for part in leaves if _is_text(part, "text/html") and part not in covered]
    if sum(len(_bytes(part)) for part in pages) > LONGEST_PAGES:
        pages = []
    written = (_words(part) for part in leaves if part in texts or part in pages)
    shown = "\n\n".join(filter(None, written))
    others = (part for part in leaves if part not in (*texts, *pages, *covered))
    files = (_file(part) for part in others)
    return Mail(
        _header(message, "subject"),
        _header(message, "from"),
        shown.replace("\r\n", "\n").replace("\0", "\N{REPLACEMENT CHARACTER}"),
        tuple(one for one in files if one.content),
        _header(message, "message-id"),
        _urgency(message),
        _header(message, "date"),
    )


def _beside_texts(message: Message) -> list[Message]:
    """The pages that say the same as a text beside them. A page beside an empty text says more."""
    found: list[Message] = []
    for part in message.walk():
        if part.get_content_type() == "multipart/alternative":
            inner = list(parts.leaves(part))
            if any(_is_text(one, "text/plain") and _text(one).strip() for one in inner):
                found += (one for one in inner if _is_text(one, "text/html"))
    return found


def _words(part: Message) -> str:
    """What a text or a page says."""
    text = _text(part)
    return html.text_of(text) if part.get_content_type() == "text/html" else text.strip("\r\n")


def _is_text(part: Message, kind: str) -> bool:
    is_attached = part.get_content_disposition() == "attachment" or part.get_filename() is not None
    return part.get_content_type() == kind and not is_attached


def _bytes(part: Message) -> bytes:
    if part.is_multipart():  # a mail within the mail
        inner = part.get_payload(0)
        return parts.source(inner) if isinstance(inner, Message) else b""
    found = part.get_payload(decode=True)
    return found if isinstance(found, bytes) else b""


def _text(part: Message) -> str:
    content = _bytes(part)
    try:
        return content.decode(part.get_content_charset() or "utf-8", errors="replace")
    except (LookupError, ValueError):  # a charset that is none
        return content.decode(errors="replace")


def _file(part: Message) -> MailFile:
    default = "message.eml" if part.is_multipart() else names.default(part.get_content_type())
    name = names.safe(_decoded(part.get_filename() or ""))
    return MailFile(name or default, _bytes(part))


def _header(message: Message, name: str) -> str:
    """A header in one line."""
    found = _decoded(str(message.get(name, ""))[:LONGEST_HEADER])
    return " ".join(_CONTROLS.sub(" ", found).split())


def _decoded(text: str) -> str:
    try:
        found = str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, ValueError):
        found = text
    # Bytes that are no text stand as lone surrogates.
    return found.encode(errors="replace").decode()


def _urgency(message: Message) -> int:
    number = _NUMBER.match(str(message.get("x-priority", "")))
    if number is not None:
        return _PRIORITIES[number[1]]
    return _IMPORTANCE.get(str(message.get("importance", "")).strip().lower(), 2)
