"""The event of a mail. Pure."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson

from services.bridge.ways_in import topics
from services.bridge.ways_in.draft import LONGEST_TEXT, LONGEST_TITLE, Draft, Given, fault, words
from services.bridge.ways_in.send import DEFAULT_TYPE
from services.bridge.ways_in.smtp.mail import Mail, MailFile
from services.contracts.files import MOST_ATTACHMENTS

#: The title of a mail that has neither subject nor text.
EMPTY = "Mail without a subject"
#: The file with the text of a mail that is too long for a message, and how much of it the message shows.
WHOLE_TEXT = "message.txt"
_SHOWN = 1_500
_BY_URGENCY: Mapping[int, Mapping[str, Any]] = MappingProxyType(
    {
        1: {"priority": "low", "silent": True},
        2: {},
        3: {"priority": "high", "severity": "high"},
        4: {"priority": "urgent", "severity": "critical"},
    }
)
_ADDRESS = re.compile(rf"<?({topics.TOPIC.pattern})(?:\+[^@]*)?@[^@\s]+>?")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A stored attachment: its ID, its name, and the hash of its content."""

    id: str
    name: str
    sha256: str


def topic_of(address: str) -> str | None:
    """The topic of a recipient: ``ops`` of ``ops@anything`` and of ``ops+disk@anything``; or None."""
    found = _ADDRESS.fullmatch(address)
    return found[1] if found else None


def shown(mail: Mail) -> tuple[str, tuple[MailFile, ...]]:
    """The text that the message shows, and the files that go with it; a long text is a file too.

    Raises:
        Problem: 422, there are more files than a message can have.
    """
    text = f"{mail.subject}\n\n{mail.text}" if len(mail.subject) > LONGEST_TITLE else mail.text
    below = f"From: {mail.sender}" if mail.sender else ""
    files = mail.files
    if len(text) + len(below) + 2 > LONGEST_TEXT:
        files = (MailFile(WHOLE_TEXT, text.encode(errors="replace")), *files)
        text = f"{text[:_SHOWN].rstrip()}…"
    if len(files) > MOST_ATTACHMENTS:
        # Before any of them is stored.
        raise fault(
            ("attachments",), f"a message has at most {MOST_ATTACHMENTS} files, and these are {len(files)}"
        )
    return "\n\n".join(filter(None, (text.strip("\n"), below))), files


def draft(topic: str, mail: Mail, text: str, files: Sequence[StoredFile]) -> Draft:
    """The event of a mail to a topic.

    Args:
        topic: its source, which routes match.
        mail: the mail.
        text: that is shown.
        files: stored attachments.

    Raises:
        Problem: 422, the text cannot be shown.
    """
    title = mail.subject or EMPTY
    if len(title) > LONGEST_TITLE:
        title = title[: LONGEST_TITLE - 1].rstrip() + "…"
    written = words(Given(title, ("subject",)), Given(text, ("text",)))
    event = {"type": DEFAULT_TYPE, "source": topic, **_BY_URGENCY[mail.urgency], **written.event}
    if files:
        event["attachments"] = [{"file_id": one.id, "filename": one.name} for one in files]
    return Draft(event, {**written.places, "source": ("recipient",), "attachments": ("attachments",)})


def identity(topic: str, mail: Mail, text: str, files: Sequence[StoredFile]) -> list[Any]:
    """What a mail that is delivered again has in common with the first one; a relay adds headers."""
    return [topic, mail.subject, text, [[one.name, one.sha256] for one in files]]


def idempotency_key(mail: Mail, identity: Sequence[Any]) -> str | None:
    """The key under which a mail is stored once for a topic; None without a Message-ID.

    Devices begin to count anew, or give all mails one ID: another content or date is another mail.

    Args:
        mail: the mail.
        identity: of :func:`identity`.
    """
    if not mail.message_id:
        return None
    whole = orjson.dumps([mail.message_id, mail.date, *identity])
    return f"smtp:{hashlib.sha256(whole).hexdigest()}"
