"""Formats of an event's description: plain, markdown and html become text with entities. Pure.

Telegram never parses markup of ours: a request has the text and its entities, so no value can break it. A
description that its format cannot read is shown as it was written.
"""

from functools import lru_cache

from services.bridge.events import html_text, markdown_text
from services.bridge.events.marked_text import UnreadableError, sound
from services.contracts.fields import Format, is_blank
from services.outbox.messages import Text
from services.outbox.telegram.text import Builder

#: What the libraries raise for texts that they cannot read.
_FAILURES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_READERS = {Format.MARKDOWN: markdown_text.read, Format.HTML: html_text.read}


@lru_cache(maxsize=256)
def formatted(description: str, kind: Format) -> Text:
    """The description as Telegram shows it; as it was written where its format cannot read it.

    The result is kept: an event of many recipients is read once.

    Args:
        description: as it was posted, at most 2,000 characters.
        kind: how to read it.
    """
    written = Builder().text(description).build()
    if kind is Format.PLAIN:
        return written
    try:
        read = _READERS[kind](written.text)
    except (UnreadableError, *_FAILURES):
        return written
    shown = sound(read)
    return written if is_blank(shown.text) else shown
