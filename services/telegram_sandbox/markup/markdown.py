"""The parse mode MarkdownV2: every special character is markup or must be escaped."""

import re
from dataclasses import dataclass
from typing import Any

from services.telegram_sandbox.markup import html
from services.telegram_sandbox.markup.date_time import date_time
from services.telegram_sandbox.markup.entity import Entity, MarkupError, in_order

RESERVED = frozenset("_*[]()~`>#+-=|{}.!\n")
NAMES = {
    "bold": "Bold",
    "italic": "Italic",
    "underline": "Underline",
    "strikethrough": "Strikethrough",
    "spoiler": "Spoiler",
    "code": "Code",
    "pre": "Pre",
    "text_link": "TextUrl",
    "custom_emoji": "CustomEmoji",
    "blockquote": "BlockQuote",
}
SIMPLE = {"*": "bold", "~": "strikethrough", "[": "text_link"}
ENDS = {
    "bold": "*",
    "italic": "_",
    "underline": "__",
    "strikethrough": "~",
    "spoiler": "||",
    "code": "`",
    "pre": "```",
    "text_link": "]",
    "custom_emoji": "]",
}
SPACE = " \t\r\n\0\v"
END = "\0\0\0"  # appended to the text, so that looking ahead is safe
LAST_ESCAPABLE = "~"  # code point 126
SPECIAL = re.compile(r"tg://(?P<kind>emoji|time)\?(?P<query>.*)", re.IGNORECASE | re.DOTALL)


@dataclass(slots=True)
class _Open:
    kind: str
    at: int  #: code points of the source
    begin: int  #: code points of the result
    language: str = ""


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
        self._open: list[_Open] = []
        self._in_quote = False
        self._line_begins = True  #: whether a quote may start here

    def run(self) -> tuple[str, list[Entity]]:
        while self._at < self._size:
            self._step(self._text[self._at])
        if self._in_quote and self._open[-1].kind == "blockquote":
            self._close("blockquote")
        if self._open:
            raise self._unfinished()
        return "".join(self._out), in_order(self._entities)

    def _step(self, char: str) -> None:
        if char == "\\" and "\0" < self._text[self._at + 1] <= LAST_ESCAPABLE:
            self._take(self._text[self._at + 1], 2)
        elif char not in RESERVED or (self._in_code() and char != "`"):
            self._take(char, 1)
        elif self._open and self._ends(char):
            self._end(char)
        else:
            self._begin(char)

    def _take(self, char: str, length: int) -> None:
        self._out.append(char)
        self._at += length
        self._line_begins = char == "\n" and not self._in_code()

    def _in_code(self) -> bool:
        return bool(self._open) and self._open[-1].kind in {"code", "pre"}

    def _ahead(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _byte(self, at: int) -> int:
        return len(self._text[:at].encode())

    def _unfinished(self) -> MarkupError:
        last = self._open[-1]
        name = "PreCode" if last.language else NAMES[last.kind]
        return MarkupError(f"Can't find end of {name} entity at byte offset {self._byte(last.at)}")

    def _reserved(self, char: str) -> MarkupError:
        return MarkupError(f"Character '{char}' is reserved and must be escaped with the preceding '\\'")

    def _ends(self, char: str) -> bool:
        """Returns whether this ends the innermost open entity, or the quote around it."""
        if self._in_quote and char == "\n" and self._text[self._at + 1] != ">":
            return True
        if self._in_quote and self._quote_expands():
            return True
        kind = self._open[-1].kind
        if kind == "italic" and self._ahead("__"):
            return False
        return kind in ENDS and self._ahead(ENDS[kind])

    def _quote_expands(self) -> bool:
        """Returns whether two bars end the quote's last line, which makes it expandable."""
        if self._open[-1].kind in {"spoiler", "code", "pre"} or not self._ahead("||"):
            return False
        behind = self._at + 2
        at_end = behind == self._size
        return at_end or (self._text[behind] == "\n" and self._text[behind + 1] != ">")

    def _begin(self, char: str) -> None:
        at, kind, length, language = self._at, SIMPLE.get(char, ""), 1, ""
        if char == "\n":
            self._newline()
            return
        if self._line_begins and (self._ahead(">") or self._ahead("**>")):
            kind, length = "blockquote", 1 if char == ">" else 3
            if self._in_quote:
                self._at += length
                return
            self._in_quote = True
        elif char == "_":
            kind, length = ("underline", 2) if self._ahead("__") else ("italic", 1)
        elif self._ahead("||"):
            kind, length = "spoiler", 2
        elif self._ahead("!["):
            kind, length = "custom_emoji", 2
        elif self._ahead("```"):
            kind = "pre"
            length, language = self._fence()
        elif char == "`":
            kind = "code"
        if not kind:
            raise self._reserved(char)
        self._open.append(_Open(kind, at, len(self._out), language))
        self._at += length

    def _newline(self) -> None:
        self._take("\n", 1)
        if self._in_quote and self._text[self._at] == ">":
            self._at += 1
        else:
            self._line_begins = True

    def _fence(self) -> tuple[int, str]:
        """Returns the length of a code block's opening, with language and line break, and the language."""
        begin = end = self._at + 3
        while self._text[end] not in SPACE and self._text[end] != "`":
            end += 1
        language = ""
        if end != begin and end < self._size and self._text[end] != "`":
            language, begin = self._text[begin:end], end
        first, second = self._text[begin], self._text[begin + 1]
        if first in "\r\n":
            begin += 2 if second in "\r\n" and first != second else 1
        return begin - self._at, language

    def _end(self, char: str) -> None:
        last = self._open[-1]
        if last.kind != "blockquote" and self._in_quote and (char == "\n" or self._quote_expands()):
            raise self._unfinished()
        match last.kind:
            case "underline" | "spoiler":
                self._at += 2
            case "pre":
                self._at += 3
            case "text_link" | "custom_emoji":
                self._end_of_brackets(last)
                return
            case "blockquote":
                self._end_of_quote(char)
                return
            case _:
                self._at += 1
        self._close(last.kind, {"language": last.language} if last.language else {})

    def _end_of_quote(self, char: str) -> None:
        kind = "blockquote"
        if char == "|":
            kind = "expandable_blockquote"
            self._at += 2
        if self._at < self._size:
            self._take("\n", 1)
            self._line_begins = True
        self._close(kind)

    def _close(self, kind: str, extra: dict[str, Any] | None = None) -> None:
        last = self._open.pop()
        if last.kind == "blockquote":
            self._in_quote = False
        if (length := len(self._out) - last.begin) > 0:
            self._entities.append(Entity(kind, last.begin, length, extra or {}))

    def _end_of_brackets(self, last: _Open) -> None:
        inside = "".join(self._out[last.begin :])
        self._at += 1
        if self._text[self._at] == "(":
            url = self._url()
        elif last.kind == "custom_emoji":
            raise MarkupError("The entity must contain a tg://emoji or tg://time URL")
        else:
            url = inside
        entity = (
            _special(url, last.begin, len(inside))
            if last.kind == "custom_emoji"
            else html.link(url, last.begin, len(inside))
        )
        self._open.pop()
        if entity is not None and inside:
            self._entities.append(entity)

    def _url(self) -> str:
        """Returns the text in the parentheses, with escapes resolved."""
        self._at += 1
        begin = self._at
        url: list[str] = []
        while self._at < self._size and self._text[self._at] != ")":
            if self._text[self._at] == "\\" and "\0" < self._text[self._at + 1] <= LAST_ESCAPABLE:
                self._at += 1
            url.append(self._text[self._at])
            self._at += 1
        if self._text[self._at] != ")":
            raise MarkupError(f"Can't find end of a URL at byte offset {self._byte(begin)}")
        self._at += 1
        return "".join(url)


def _special(url: str, begin: int, length: int) -> Entity:
    """Returns a custom emoji or a date_time entity."""
    wrong = MarkupError("Invalid tg://emoji or tg://time URL specified")
    found = SPECIAL.fullmatch(url)
    if found is None:
        raise wrong
    query = dict(part.partition("=")[::2] for part in found["query"].split("&"))
    try:
        if found["kind"].lower() == "emoji":
            return Entity("custom_emoji", begin, length, html.emoji(query.get("id", "")))
        extra = date_time(query.get("unix", ""), query.get("format", ""))
    except MarkupError:
        raise wrong from None
    if not extra:
        raise wrong
    return Entity("date_time", begin, length, extra)
