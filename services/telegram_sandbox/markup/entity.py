"""Message entities: their types, their order, and the rules for nesting and overlaps.

Offsets are code points of the text; `Formatted.wire` converts them to UTF-16 units for the Bot API. The
rules are TDLib's (MessageEntity.cpp): which types may nest, which are split, which are dropped.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SPLITTABLE = ("bold", "italic", "underline", "strikethrough", "spoiler")
PRE = frozenset({"code", "pre", "date_time"})  # no other entity nests in them
QUOTES = frozenset({"blockquote", "expandable_blockquote"})
NO_DETECTION = PRE | {"text_link", "text_mention", "custom_emoji"}
PRIORITY = {
    "blockquote": 0,
    "expandable_blockquote": 0,
    "pre": 11,
    "code": 20,
    "text_link": 49,
    "text_mention": 49,
    "bold": 90,
    "italic": 91,
    "underline": 92,
    "strikethrough": 93,
    "spoiler": 94,
    "custom_emoji": 99,
    "date_time": 30,
}
PRE_WITH_LANGUAGE = 10


class MarkupError(Exception):
    """Invalid markup or entities; the text is Telegram's."""


@dataclass(frozen=True, slots=True)
class Entity:
    """One formatted range of the text; `extra` has the additional fields of its type."""

    type: str
    offset: int
    length: int
    extra: dict[str, Any] = field(default_factory=dict, compare=True, hash=False)

    @property
    def end(self) -> int:
        return self.offset + self.length

    def moved(self, offset: int, end: int) -> "Entity":
        return Entity(self.type, offset, end - offset, self.extra)


def in_order(entities: Iterable[Entity]) -> list[Entity]:
    """Sorts entities as TDLib does: by offset, the longer first, then by type."""
    return sorted(entities, key=lambda e: (e.offset, -e.length, _priority(e)))


def _priority(entity: Entity) -> int:
    return PRE_WITH_LANGUAGE if entity.type == "pre" and entity.extra else PRIORITY.get(entity.type, 50)


def normalized(entities: Iterable[Entity]) -> list[Entity]:
    """Makes entities nest as Telegram allows: drops some, splits and merges bold and similar ones."""
    ordered = in_order(e for e in entities if e.length > 0)
    if _valid(ordered):
        return ordered
    splittable = [e for e in ordered if e.type in SPLITTABLE]
    quotes = _apart(e for e in ordered if e.type in QUOTES)
    others = _apart(e for e in ordered if e.type not in SPLITTABLE and e.type not in QUOTES)
    others = [e for e in others if not any(_cuts(quote, e) for quote in quotes)]
    frame = in_order([*others, *quotes])
    return in_order([*frame, *_split(splittable, frame)])


def _valid(ordered: list[Entity]) -> bool:
    """Returns whether the entities nest correctly and none can be merged."""
    stack: list[Entity] = []
    ends: dict[str, int] = {}
    for entity in ordered:
        while stack and entity.offset >= stack[-1].end:
            stack.pop()
        if stack and not _nests(stack, entity):
            return False
        if entity.type in SPLITTABLE:
            if ends.get(entity.type, -1) >= entity.offset:
                return False
            ends[entity.type] = entity.end
        stack.append(entity)
    return True


def _nests(stack: list[Entity], entity: Entity) -> bool:
    outer = {e.type for e in stack}
    if entity.end > stack[-1].end or entity.type in outer or stack[-1].type in PRE:
        return False
    if outer & QUOTES and entity.type in QUOTES:
        return False
    if entity.type in PRE and outer - QUOTES:
        return False
    if entity.type not in SPLITTABLE and outer - QUOTES - PRE - set(SPLITTABLE):
        return False
    return not outer & set(SPLITTABLE)


def _apart(ordered: Iterable[Entity]) -> list[Entity]:
    """Drops entities that overlap an earlier one."""
    kept: list[Entity] = []
    for entity in ordered:
        if not kept or entity.offset >= kept[-1].end:
            kept.append(entity)
    return kept


def _cuts(quote: Entity, entity: Entity) -> bool:
    """Returns whether a quote and an entity overlap, and the entity is not inside the quote."""
    if quote.end <= entity.offset or entity.end <= quote.offset:
        return False
    return not (quote.offset <= entity.offset and entity.end <= quote.end)


def _split(splittable: list[Entity], frame: list[Entity]) -> list[Entity]:
    """Splits bold and similar entities at every boundary of `frame`, and drops those inside code."""
    splitter = _Splitter(splittable)
    stack: list[Entity] = []
    for entity in [*frame, None]:
        limit = entity.offset if entity is not None else None
        while stack and (limit is None or limit >= stack[-1].end):
            closed = stack.pop()
            splitter.run_to(closed.end, drop=closed.type in PRE)
        splitter.run_to(limit, drop=False)
        if entity is not None:
            stack.append(entity)
    return in_order(splitter.result)


class _Splitter:
    """Merges adjacent entities of a type, and splits all of them where another one starts."""

    def __init__(self, entities: list[Entity]) -> None:
        self.result: list[Entity] = []
        self._waiting = entities[::-1]
        self._open: dict[str, tuple[int, int]] = {}

    def run_to(self, limit: int | None, *, drop: bool) -> None:
        """Processes entities that start before `limit` and splits there; `drop` discards the result."""
        kept = len(self.result)
        while self._waiting and (limit is None or self._waiting[-1].offset < limit):
            entity = self._waiting.pop()
            begin, end = self._open.get(entity.type, (0, 0))
            if end and entity.offset <= end:
                self._open[entity.type] = (begin, max(end, entity.end))
            else:
                self._flush(entity.offset)
                self._open[entity.type] = (entity.offset, entity.end)
        self._flush(limit)
        if drop:
            del self.result[kept:]

    def _flush(self, limit: int | None) -> None:
        for kind in SPLITTABLE:
            begin, end = self._open.get(kind, (0, 0))
            if not end or (limit is not None and begin >= limit):
                continue
            cut = end if limit is None else min(end, limit)
            self.result.append(Entity(kind, begin, cut - begin))
            self._open[kind] = (0, 0) if cut == end else (cut, end)
