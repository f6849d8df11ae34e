"""Text that cannot fail: built with entities, never as markup, and cut only between code points.

Telegram's limit is 4096 code points; entity offsets are UTF-16 code units (telegram.md 0.1).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from services.outbox.messages import Document, Text

MESSAGE_LIMIT = 4096
CAPTION_LIMIT = 1024
#: Longer than this many parts becomes a document: nobody scrolls through more.
MOST_PARTS = 4
#: Telegram ignores entities beyond the hundredth of a message.
ENTITY_LIMIT = 100


def utf16_length(text: str) -> int:
    """Length in UTF-16 code units: astral characters count twice."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


class Builder:
    """Collects text and the entities over it. Each method adds to the end and returns itself."""

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
        """A link; Telegram takes http, https and tg, anything else is shown as text."""
        if url.startswith(("http://", "https://", "tg://")):
            return self._entity(text, "text_link", url=url)
        return self.text(f"{text} ({url})")

    def add(self, text: Text) -> Self:
        """Text with entities of its own."""
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


def _clean(text: str) -> str:
    """Without what no Telegram client shows and JSON cannot carry: lone surrogates and NULs."""
    whole = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
    return whole.replace("\0", "")


def parts_of(text: Text, filename: str, *, spare: int = 0) -> tuple[Text | Document, ...]:
    """One message, several, or, beyond a few, a document with the beginning as its caption.

    Args:
        text: the whole.
        filename: of the document.
        spare: code points to leave free in each part, for what :func:`headed` adds to one of them.
    """
    if len(text.text) <= MESSAGE_LIMIT - spare and len(text.entities) <= ENTITY_LIMIT:
        return (text,)
    # Telegram refuses a message of nothing but spaces.
    cut = [piece for piece in split(text, MESSAGE_LIMIT - spare) if not is_blank(piece.text)]
    if len(cut) <= MOST_PARTS:
        return tuple(cut) or (text,)
    caption = next(split(text, CAPTION_LIMIT - 2 - spare))
    shown = Text(f"{caption.text} …", caption.entities)
    return (Document(filename, text.text.encode(), shown),)


def headed(part: Text | Document, note: str) -> Text | Document:
    """A part with a note above it, in italics."""
    if isinstance(part, Document):
        return Document(part.filename, part.content, _headed(part.caption, note))
    return _headed(part, note)


def _headed(text: Text, note: str) -> Text:
    whole = Builder().italic(note).text("\n").add(text).build()
    return Text(whole.text, whole.entities[:ENTITY_LIMIT])


#: What Telegram takes out of a text, or sees nothing in, before it looks whether something is left (TDLib,
#: clean_input_string and strip_empty_characters).
_NOTHING = frozenset(
    (
        *range(0x20),
        *range(0x2028, 0x202F),
        *(0x030A, 0x0333, 0x033F),
        *range(0x200B, 0x2010),
        *range(0x2060, 0x2070),
        *(0x180E, 0x2800, 0xFEFF, 0xFFFC),
    )
)


def is_blank(text: str) -> bool:
    """Whether Telegram finds nothing to show in it, and refuses it."""
    return all(ord(character) in _NOTHING or character.isspace() for character in text)


def without_end(text: Text, end: str) -> Text:
    """A text without what it ends with; as it is where it ends otherwise."""
    if not end or not text.text.endswith(end):
        return text
    kept = len(text.text) - len(end)
    return _piece(text, (0, kept), (0, utf16_length(text.text[:kept])))


def split(text: Text, limit: int) -> Iterator[Text]:
    """Cuts at line ends, else at spaces, else anywhere; entities are cut with the text.

    Joined again, the pieces are the text: nothing is dropped, and nothing is added.

    Args:
        text: what to cut.
        limit: code points a piece may have.
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
