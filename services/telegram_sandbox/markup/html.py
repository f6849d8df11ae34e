"""The parse mode HTML: Telegram's tags; anything else is an error."""

from dataclasses import dataclass, field
from typing import Any

from services.telegram_sandbox.markup import links
from services.telegram_sandbox.markup.date_time import date_time
from services.telegram_sandbox.markup.entity import Entity, MarkupError, in_order

KINDS = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "u": "underline",
    "ins": "underline",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
}
TAGS = frozenset({*KINDS, "a", "tg-emoji", "tg-time", "pre", "code", "blockquote"})
NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
SPACE = " \t\r\n\0\v"
NAME_END = "=>\"'/"  # of an attribute's name
END = "\0"  # appended to the text, so that reading one character too far is safe
LAST_CODE_POINT = 0x10FFFF
LONGEST_REFERENCE = 10  # characters of a numeric reference


@dataclass(slots=True)
class _Tag:
    name: str
    begin: int  #: code points of the result
    attributes: dict[str, str] = field(default_factory=dict)


def parse(text: str) -> tuple[str, list[Entity]]:
    """Returns the plain text and its entities.

    Raises:
        MarkupError: it is invalid; with TDLib's text and UTF-8 byte offsets.
    """
    return _Parser(text).run()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text + END
        self._size = len(text)
        self._at = 0
        self._out: list[str] = []
        self._entities: list[Entity] = []
        self._open: list[_Tag] = []

    def run(self) -> tuple[str, list[Entity]]:
        while self._at < self._size:
            char = self._text[self._at]
            if char == "<":
                self._tag()
            elif char == "&":
                self._out.append(self._reference())
            else:
                self._out.append(char)
                self._at += 1
        if self._open:
            raise MarkupError(f'Can\'t find end tag corresponding to start tag "{self._open[-1].name}"')
        if any("\ud800" <= char <= "\udfff" for char in self._out):
            raise MarkupError(
                "Text contains invalid Unicode characters after decoding HTML entities, check for unmatched "
                "surrogate code units"
            )
        return "".join(self._out), in_order(_without_classes(self._entities))

    def _byte(self, at: int) -> int:
        return len(self._text[:at].encode("utf-8", "surrogatepass"))

    def _reference(self) -> str:
        """Returns the decoded character reference, or the ampersand if it is none."""
        char, self._at = decoded(self._text, self._at)
        return char

    def _tag(self) -> None:
        begin = self._at
        self._at += 1
        if self._text[self._at] == "/":
            self._end_tag(begin)
        else:
            self._start_tag(begin)

    def _until_space_or_end(self) -> None:
        while self._text[self._at] not in SPACE and self._text[self._at] != ">":
            self._at += 1

    def _skip_space(self) -> None:
        while self._at < self._size and self._text[self._at] in SPACE:
            self._at += 1

    def _start_tag(self, begin: int) -> None:
        self._until_space_or_end()
        if self._text[self._at] == END:
            raise MarkupError(f"Unclosed start tag at byte offset {self._byte(begin)}")
        name = self._text[begin + 1 : self._at].lower()
        if name not in TAGS:
            raise MarkupError(f'Unsupported start tag "{name}" at byte offset {self._byte(begin)}')
        tag = _Tag(name, len(self._out))
        while self._text[self._at] != ">":
            self._skip_space()
            if self._text[self._at] == ">":
                break
            self._attribute(tag, begin)
        self._at += 1
        if name == "span" and tag.attributes.get("class") != "tg-spoiler":
            raise MarkupError(f'Tag "span" must have class "tg-spoiler" at byte offset {self._byte(begin)}')
        self._open.append(tag)

    def _attribute(self, tag: _Tag, begin: int) -> None:
        name_begin = self._at
        while self._text[self._at] not in SPACE and self._text[self._at] not in NAME_END:
            self._at += 1
        name = self._text[name_begin : self._at]
        where = self._byte(begin)
        if not name:
            raise MarkupError(f'Empty attribute name in the tag "{tag.name}" at byte offset {where}')
        self._skip_space()
        if self._text[self._at] != "=":
            if self._text[self._at] == END:
                raise MarkupError(f'Unclosed start tag "{tag.name}" at byte offset {where}')
            tag.attributes[name] = ""
            return
        self._at += 1
        self._skip_space()
        if self._text[self._at] == END:
            raise MarkupError(f'Unclosed start tag "{tag.name}" at byte offset {where}')
        value = self._quoted() if self._text[self._at] in "'\"" else self._token()
        if self._text[self._at] == END:
            raise MarkupError(f"Unclosed start tag at byte offset {where}")
        tag.attributes[name] = value

    def _token(self) -> str:
        begin = self._at
        while (char := self._text[self._at]).isascii() and (char.isalnum() or char in ".-"):
            self._at += 1
        if self._text[self._at] not in SPACE and self._text[self._at] != ">":
            raise MarkupError(f"Unexpected end of name token at byte offset {self._byte(begin)}")
        return self._text[begin : self._at].lower()

    def _quoted(self) -> str:
        quote = self._text[self._at]
        self._at += 1
        value: list[str] = []
        while self._text[self._at] not in (quote, END):
            if self._text[self._at] == "&":
                value.append(self._reference())
            else:
                value.append(self._text[self._at])
                self._at += 1
        if self._text[self._at] == quote:
            self._at += 1
        return "".join(value)

    def _end_tag(self, begin: int) -> None:
        where = self._byte(begin)
        if not self._open:
            raise MarkupError(f"Unexpected end tag at byte offset {where}")
        self._until_space_or_end()
        name = self._text[begin + 2 : self._at].lower()
        self._skip_space()
        if self._text[self._at] != ">":
            raise MarkupError(f"Unclosed end tag at byte offset {where}")
        self._at += 1
        tag = self._open[-1]
        if name and name != tag.name:
            raise MarkupError(
                f'Unmatched end tag at byte offset {where}, expected "</{tag.name}>", found "</{name}>"'
            )
        if len(self._out) > tag.begin:
            self._close(tag)
        self._open.pop()

    def _close(self, tag: _Tag) -> None:
        entity = _entity(tag, "".join(self._out[tag.begin :]))
        if entity is None:
            return
        last = self._entities[-1] if self._entities else None
        if tag.name in {"pre", "code"} and last is not None and _twins(last, entity):
            merged = last.extra | entity.extra
            if merged:
                self._entities[-1] = Entity("pre", entity.offset, entity.length, merged)
                return
        self._entities.append(entity)


def decoded(text: str, at: int) -> tuple[str, int]:
    """Returns the character of the reference at `at` and its end; "&" if it is no reference."""
    if text[at + 1] != "#":
        end = at + 1
        while text[end].isascii() and text[end].isalpha():
            end += 1
        char = NAMED.get(text[at + 1 : end])
    else:
        end, char = _numeric(text, at)
    if char is None:
        return "&", at + 1
    return char, end + (text[end] == ";")


def _numeric(text: str, at: int) -> tuple[int, str | None]:
    digits, base, end = "0123456789", 10, at + 2
    if text[end] == "x":
        digits, base, end = "0123456789abcdefABCDEF", 16, end + 1
    begin = end
    while text[end] in digits:
        end += 1
    code = int(text[begin:end] or "0", base)
    if not 0 < code < LAST_CODE_POINT or end - at >= LONGEST_REFERENCE:
        return end, None
    return end, chr(code)


def _entity(tag: _Tag, inside: str) -> Entity | None:
    begin, length, attributes = tag.begin, len(inside), tag.attributes
    kind: str | None = KINDS.get(tag.name, tag.name)
    extra: dict[str, Any] = {}
    match tag.name:
        case "a":
            return link(attributes.get("href") or inside, begin, length)
        case "code":
            language = attributes.get("class", "")
            named = language.startswith("language-") and language != "language-"
            extra = {"language": language.removeprefix("language-")} if named else {}
        case "blockquote" if "expandable" in attributes:
            kind = "expandable_blockquote"
        case "tg-emoji":
            kind, extra = "custom_emoji", emoji(attributes.get("emoji-id", ""))
        case "tg-time":
            extra = date_time(attributes.get("unix", ""), attributes.get("format", ""))
            kind = "date_time" if extra else None
    return Entity(kind, begin, length, extra) if kind else None


def link(url: str, begin: int, length: int) -> Entity | None:
    """Returns a link or a mention of a person; None if Telegram drops the URL."""
    person = links.user_id(url)
    if person is not None:
        return Entity("text_mention", begin, length, {"user": {"id": person}})
    address = links.checked(url)
    return Entity("text_link", begin, length, {"url": address}) if address else None


def emoji(number: str) -> dict[str, Any]:
    if not number.lstrip("-").isdigit() or int(number) == 0:
        raise MarkupError("Invalid custom emoji identifier specified")
    return {"custom_emoji_id": number}


def _twins(last: Entity, entity: Entity) -> bool:
    """Returns whether a `pre` and a `code` enclose the same text."""
    return {last.type, entity.type} == {"pre", "code"} and (last.offset, last.length) == (
        entity.offset,
        entity.length,
    )


def _without_classes(entities: list[Entity]) -> list[Entity]:
    return [Entity("code", e.offset, e.length) if e.type == "code" else e for e in entities]
