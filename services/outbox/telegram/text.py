"""Message texts: built with entities instead of markup, and split between code points.

Telegram's limit is 4096 code points; offsets of entities are UTF-16 code units (telegram.md 0.1).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from services.contracts.fields import is_blank
from services.outbox.messages import Album, Document, Part, Text
from services.outbox.telegram.links import is_link

MESSAGE_LIMIT = 4096
CAPTION_LIMIT = 1024
#: A text that needs more parts is sent as a document.
MAX_PARTS = 4
#: Telegram ignores entities beyond the hundredth of a message.
ENTITY_LIMIT = 100
#: The note above a message that is sent again because Telegram's first answer was lost.
REPEATED = "Perhaps a repetition: Telegram's first answer was lost."
_REPEATED_LINE = f"{REPEATED}\n"


def utf16_length(text: str) -> int:
    """Length in UTF-16 code units: characters beyond U+FFFF count twice."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


class Builder:
    """Builds a text with entities. Each method appends and returns the builder."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._entities: list[Mapping[str, Any]] = []
        self._length = 0

    def text(self, text: str) -> Self:
        text = _clean(text)
        self._pieces.append(text)
        self._length += utf16_length(text)
        return self

    def bold(self, text: str) -> Self:
        return self._entity(text, "bold")

    def italic(self, text: str) -> Self:
        return self._entity(text, "italic")

    def code(self, text: str) -> Self:
        return self._entity(text, "code")

    def pre(self, text: str, language: str = "") -> Self:
        return self._entity(text, "pre", **({"language": language} if language else {}))

    def link(self, text: str, url: str) -> Self:
        """Appends a link; a URL that Telegram refuses in a link is written after the text."""
        if is_link(url):
            return self._entity(text, "text_link", url=url)
        return self.text(text + url_after(text, url))

    def add(self, text: Text) -> Self:
        """Appends a text with its entities."""
        moved = ({**entity, "offset": entity["offset"] + self._length} for entity in text.entities)
        self._entities.extend(moved)
        return self.text(text.text)

    def build(self) -> Text:
        return Text("".join(self._pieces), tuple(self._entities))

    def _entity(self, text: str, kind: str, **more: str) -> Self:
        start = self._length
        self.text(text)
        if self._length > start:
            self._entities.append({"type": kind, "offset": start, "length": self._length - start, **more})
        return self


def url_after(text: str, url: str) -> str:
    """What follows a text without a link: its URL in brackets, unless that is empty or the text itself."""
    return f" ({url})" if url.strip() and url.strip() != text.strip() else ""


def without_entities(text: Text, limit: int) -> str:
    """The text with the URL of each link after it; without URLs if it would exceed ``limit`` characters."""
    data = text.text.encode("utf-16-le")
    pieces, at = [], 0
    for entity in sorted(text.entities, key=lambda one: int(one["offset"]) + int(one["length"])):
        if "url" not in entity:
            continue
        start, end = 2 * entity["offset"], 2 * (entity["offset"] + entity["length"])
        pieces += [
            data[at:end].decode("utf-16-le"),
            url_after(data[start:end].decode("utf-16-le"), entity["url"]),
        ]
        at = end
    whole = "".join([*pieces, data[at:].decode("utf-16-le")])
    return whole if len(whole) <= limit else text.text


def _clean(text: str) -> str:
    """Replaces lone surrogates and removes NULs, which Telegram does not accept."""
    whole = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
    return whole.replace("\0", "")


def parts_of(text: Text, filename: str) -> tuple[Text | Document, ...]:
    """Splits a text into messages; beyond MAX_PARTS it becomes a document with the beginning as caption.

    Each part leaves room for the note that :func:`mark_repeated` adds.

    Args:
        text: the whole text.
        filename: of the document.
    """
    limit = MESSAGE_LIMIT - len(_REPEATED_LINE)
    if len(text.text) <= limit and len(text.entities) <= ENTITY_LIMIT:
        return (text,)
    # Telegram refuses a message that contains only spaces.
    pieces = [piece for piece in split(text, limit) if not is_blank(piece.text)]
    if len(pieces) <= MAX_PARTS:
        return tuple(pieces) or (text,)
    caption = next(split(text, CAPTION_LIMIT - 2 - len(_REPEATED_LINE)))
    shown = Text(f"{caption.text} …", caption.entities)
    return (Document(filename, text.text.encode(), shown),)


def mark_repeated(part: Part) -> Part:
    """Adds a note above a part that Telegram may have received before; unchanged if there is no room."""
    if isinstance(part, Text):
        return _mark_repeated(part, MESSAGE_LIMIT)
    if isinstance(part, Album):
        # Telegram shows the caption of the first one below the whole album.
        first, *others = part.items
        return Album((replace(first, caption=_mark_repeated(first.caption, CAPTION_LIMIT)), *others))
    return replace(part, caption=_mark_repeated(part.caption, CAPTION_LIMIT))


def room_for_repeated() -> int:
    """Characters that :func:`mark_repeated` adds."""
    return len(_REPEATED_LINE)


def _mark_repeated(text: Text, limit: int) -> Text:
    if len(_REPEATED_LINE) + len(text.text) > limit:
        return text
    if not text.text:
        return Builder().italic(REPEATED).build()
    whole = Builder().italic(REPEATED).text("\n").add(text).build()
    return Text(whole.text, whole.entities[:ENTITY_LIMIT])


def remove_suffix(text: Text, suffix: str) -> Text:
    """The text without a suffix; unchanged where it does not end with it."""
    if not suffix or not text.text.endswith(suffix):
        return text
    end = len(text.text) - len(suffix)
    return _piece(text, (0, end), (0, utf16_length(text.text[:end])))


def split(text: Text, limit: int) -> Iterator[Text]:
    """Splits at line ends, else at spaces, else anywhere; entities are split with the text.

    The pieces joined are the text again: nothing is dropped or added.

    Args:
        text: the text to split.
        limit: most code points of a piece.
    """
    start = start16 = 0
    while len(text.text) - start > limit:
        end = _cut(text.text, start, start + limit)
        end16 = start16 + utf16_length(text.text[start:end])
        yield _piece(text, (start, end), (start16, end16))
        start, start16 = end, end16
    if start == 0 or start < len(text.text):
        yield _piece(text, (start, len(text.text)), (start16, start16 + utf16_length(text.text[start:])))


def _cut(text: str, start: int, end: int) -> int:
    # Not in the first half: a piece that is too short wastes a message.
    middle = start + (end - start) // 2
    for mark in ("\n", " "):
        at = text.rfind(mark, middle, end)
        if at >= 0 and text[start : at + 1].strip():
            return at + 1
    return end


def _piece(text: Text, codepoints: tuple[int, int], units: tuple[int, int]) -> Text:
    (start, end), (start16, end16) = codepoints, units
    entities = list(_within(text.entities, start16, end16))
    return Text(text.text[start:end], tuple(entities[:ENTITY_LIMIT]))


def _within(entities: Sequence[Mapping[str, Any]], start: int, end: int) -> Iterator[Mapping[str, Any]]:
    for entity in entities:
        left = max(entity["offset"], start)
        right = min(entity["offset"] + entity["length"], end)
        if right > left:
            yield {**entity, "offset": left - start, "length": right - left}
