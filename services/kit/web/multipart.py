"""Forms with files (multipart/form-data), read part by part without keeping a file in memory or on disk."""

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.kit.errors import Problem

MEDIA_TYPE = "multipart/form-data"
#: Parts of a form, and bytes of the headers of one part.
MOST_PARTS = 32
LARGEST_HEAD = 8_192


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a form. Read its ``content`` before the next part."""

    name: str
    filename: str | None
    media_type: str
    content: AsyncIterator[bytes]


def is_form(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == MEDIA_TYPE


class Form:
    """The parts of a form, in the order in which they arrive.

    Args:
        content_type: of the request, with the boundary.
        pieces: its body.

    Raises:
        Problem: 400, the content type names no boundary.
    """

    def __init__(self, content_type: str, pieces: AsyncIterable[bytes]) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise _unreadable("the Content-Type names no boundary")
        self._pieces = pieces
        self._events: deque[tuple[str, bytes]] = deque()
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": lambda: self._note("begin"),
                "on_header_field": lambda data, start, end: self._note("field", data[start:end]),
                "on_header_value": lambda data, start, end: self._note("value", data[start:end]),
                "on_header_end": lambda: self._note("header"),
                "on_headers_finished": lambda: self._note("headers"),
                "on_part_data": lambda data, start, end: self._note("data", data[start:end]),
                "on_part_end": lambda: self._note("end"),
                "on_end": self._end,
            },
        )

    def _note(self, kind: str, data: bytes = b"") -> None:
        self._events.append((kind, data))

    def _end(self) -> None:
        self._ended = True

    async def parts(self) -> AsyncIterator[Part]:
        """The parts.

        Raises:
            Problem: 400, the body is no such form, has too many parts, or a part without a name.
        """
        events = self._read()
        number = 0
        async for kind, _ in events:
            if kind != "begin":
                continue
            number += 1
            if number > MOST_PARTS:
                raise _unreadable(f"it has more than {MOST_PARTS} parts")
            headers = await _headers(events)
            content = _content(events)
            yield _part(headers, content)
            async for _ in content:  # what the reader left
                pass

    async def _read(self) -> AsyncIterator[tuple[str, bytes]]:
        async for piece in self._pieces:
            try:
                self._parser.write(piece)
            except MultipartParseError as error:
                raise _unreadable(str(error)) from None
            while self._events:
                yield self._events.popleft()
        if not self._ended:
            raise _unreadable("it ends before its last boundary")


async def _headers(events: AsyncIterator[tuple[str, bytes]]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    name = value = b""
    size = 0
    async for kind, data in events:
        size += len(data)
        if size > LARGEST_HEAD:
            raise _unreadable(f"the headers of a part have more than {LARGEST_HEAD} bytes")
        if kind == "field":
            name += data
        elif kind == "value":
            value += data
        elif kind == "header":
            found[name.decode("latin-1").lower()] = value
            name = value = b""
        else:
            break
    return found


async def _content(events: AsyncIterator[tuple[str, bytes]]) -> AsyncIterator[bytes]:
    async for kind, data in events:
        if kind == "end":
            return
        yield data


def _part(headers: dict[str, bytes], content: AsyncIterator[bytes]) -> Part:
    _, options = parse_options_header(headers.get("content-disposition", b""))
    name = _text(options.get(b"name", b""))
    if not name:
        raise _unreadable("a part has no name")
    filename: Any = options.get(b"filename")
    media_type = headers.get("content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    return Part(name, None if filename is None else _text(filename), media_type, content)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _unreadable(why: str) -> Problem:
    return Problem(400, "Bad Request", f"The body is no form (multipart/form-data) that can be read: {why}.")
