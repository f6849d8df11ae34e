"""Formatted text as Telegram takes it: parse markup or given entities, then clean, trim and complete them.

`parse` is what TDLib's parseTextEntities does, `clean` what its fix_formatted_text does with the result.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from services.telegram_sandbox.markup import found, given, html, markdown
from services.telegram_sandbox.markup.entity import HIDDEN_DATA, Entity, MarkupError, in_order, untangled

__all__ = ["Formatted", "MarkupError", "clean", "parse"]

RAW_LIMIT = 1 << 15  # bytes before parsing
MAX_ENTITIES = 100
BLANK = " \n"
BLANKS = frozenset(BLANK)
DROPPED = dict.fromkeys([*range(0x2028, 0x202F), 0x0D])  # line separators, direction marks, carriage return
SPACED = {code: " " for code in range(32) if code not in (0x0A, 0x0D)}
INVISIBLE = frozenset({0x333, 0x33F, 0x30A})  # combining lines that TDLib removes
CONTROL = re.compile(f"[{''.join(map(chr, (*DROPPED, *SPACED, *INVISIBLE)))}]")


@dataclass(frozen=True, slots=True)
class Formatted:
    """Text and entities, offsets in code points."""

    text: str
    entities: list[Entity] = field(default_factory=list)

    def wire(self, user: Callable[[int], dict[str, Any] | None] = lambda _id: None) -> list[dict[str, Any]]:
        """Bot API entities, offsets in UTF-16. `user` shows a mentioned person; None drops the mention."""
        shown = []
        for entity in self.entities:
            extra = entity.extra
            if entity.type == "text_mention" and (person := user(extra["user"]["id"])) is not None:
                extra = {"user": person}
            elif entity.type == "text_mention":
                continue
            begin = _units(self.text[: entity.offset])
            length = _units(self.text[entity.offset : entity.end])
            shown.append({"type": entity.type, "offset": begin, "length": length, **extra})
        return shown


def parse(text: str, parse_mode: str, entities: Any) -> Formatted:
    """Plain text and entities from what the request says.

    Raises:
        MarkupError: in Telegram's words.
    """
    if not text.isascii():
        _check_unicode(text)
    if len(text) * 4 > RAW_LIMIT and len(text.encode()) > RAW_LIMIT:
        raise MarkupError("Text is too long")
    mode = parse_mode.lower()
    if not text or mode in ("", "none"):
        return Formatted(text, given.parse(text, entities) if entities else [])
    parsers = {"html": html.parse, "markdownv2": markdown.parse}
    if mode not in parsers:
        raise MarkupError("Unsupported parse_mode")
    try:
        return Formatted(*parsers[mode](text))
    except MarkupError as error:
        raise MarkupError(f"Can't parse entities: {error}") from None


def clean(formatted: Formatted) -> Formatted:
    """Text trimmed and without control characters, entities untangled, links and the like found in it."""
    text, entities = formatted.text, untangled(formatted.entities)
    if not entities and text.isascii() and text.isprintable():
        plain = text.strip(" ")
        return Formatted(plain, found.entities(plain))
    text, entities = _without_control(text, entities)
    entities = untangled(_visible(text, entities))
    text, entities = _trimmed(text, entities)
    entities = _merged(text, entities)
    return Formatted(text, _first_hundred(entities))


def _units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MarkupError("Strings must be encoded in UTF-8") from None


def _without_control(text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    """Replace control characters by spaces and remove the invisible ones, moving the entities along."""
    if CONTROL.search(text) is None:
        return text, entities
    removed = [i for i, char in enumerate(text) if ord(char) in DROPPED or ord(char) in INVISIBLE]
    text = text.translate(SPACED)
    gone = set(removed)
    moved = []
    for entity in entities:
        begin = entity.offset - sum(1 for i in removed if i < entity.offset)
        end = entity.end - sum(1 for i in removed if i < entity.end)
        moved.append(entity.moved(begin, end))
    return "".join(char for i, char in enumerate(text) if i not in gone), moved


@dataclass(slots=True)
class _Span:
    """An entity whose ends still move."""

    entity: Entity
    begin: int
    end: int


def _visible(text: str, entities: list[Entity]) -> list[Entity]:
    """Entities moved off the whitespace they begin with; those of nothing but whitespace go.

    Links and code stay where they are, and so does everything around one that begins at the same place.
    """
    ordered = in_order(e for e in entities if e.length > 0)
    if not any(text[e.offset] in BLANKS for e in ordered):
        return ordered
    spans = [_Span(e, e.offset, e.end) for e in ordered]
    waiting, stack, last_visible = spans[::-1], list[_Span](), -1
    for at in range(len(text) + 1):
        while stack and at >= stack[-1].end:
            span = stack.pop()
            if last_visible < span.begin and span.entity.type not in HIDDEN_DATA:
                span.end = span.begin
        while waiting and at >= waiting[-1].begin:
            stack.append(waiting.pop())
        if text[at : at + 1] in BLANKS:
            _move_off(stack, at)
        else:
            last_visible = at
    return [span.entity.moved(span.begin, span.end) for span in spans if span.begin < span.end]


def _move_off(stack: list[_Span], at: int) -> None:
    """Let what begins at a blank begin behind it, from the innermost outwards."""
    for span in reversed(stack):
        if span.begin != at or span.entity.type in HIDDEN_DATA:
            return
        span.begin += 1


def _trimmed(text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    """Without whitespace at the end, and at the beginning as far as no entity begins there."""
    if text[:1] not in BLANKS and text[-1:] not in BLANKS:
        return text, entities
    end = len(text.rstrip(BLANK))
    entities = [e.moved(e.offset, min(e.end, end)) for e in entities if e.offset < end]
    first = min((e.offset for e in entities), default=end)
    begin = min(first, len(text) - len(text.lstrip(BLANK))) if end else 0
    return text[begin:end], in_order(e.moved(e.offset - begin, e.end - begin) for e in entities)


def _merged(text: str, entities: list[Entity]) -> list[Entity]:
    """Add what Telegram finds by itself, where nothing that excludes it stands."""
    new = found.entities(text)
    if not new:
        return entities
    blocking = [e for e in entities if e.type in HIDDEN_DATA or e.type in {"custom_emoji", "date_time"}]
    free = [n for n in new if not any(n.offset < e.end and e.offset < n.end for e in blocking)]
    return untangled([*entities, *free])


def _first_hundred(entities: list[Entity]) -> list[Entity]:
    """Telegram keeps a hundred of the entities that somebody asked for, and says nothing of the others."""
    asked = [e for e in entities if e.type not in found.KINDS]
    if len(asked) <= MAX_ENTITIES:
        return entities
    dropped = {id(e) for e in asked[MAX_ENTITIES:]}
    return [e for e in entities if id(e) not in dropped]
