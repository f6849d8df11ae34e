"""The parts of a mail, within bounds: the time to read a mail grows with its size, whatever it has. Pure.

The library's parser takes any number of parts and headers, and reads parameters in a time that grows with the
square of a header's length.
"""

import io
from collections.abc import Iterator
from email.generator import BytesGenerator
from email.message import Message
from email.parser import BytesParser
from email.policy import Policy, compat32
from functools import partial
from typing import Any

from services.bridge.ways_in.draft import fault

MOST_PARTS = 500
#: Parts within parts. Each line is compared with the boundary of each of them.
DEEPEST = 20
#: Header lines of all parts together.
MOST_HEADERS = 5_000
#: How much of a header is read, characters; the rest of it is left where the mail is a file.
LONGEST_HEADER = 16_384


def read(content: bytes) -> Message:
    """Reads a mail.

    Raises:
        Problem: 422, it has too many parts or headers, or they are nested too deeply.
    """
    return BytesParser(partial(Part, _Size()), policy=compat32).parsebytes(content)


def leaves(message: Message) -> Iterator[Message]:
    """The parts that have no parts; a mail within the mail is one."""
    if message.is_multipart() and message.get_content_maintype() == "multipart":
        for part in message.get_payload():
            if isinstance(part, Message):
                yield from leaves(part)
    else:
        yield message


def source(message: Message) -> bytes:
    """A mail as it is written."""
    written = io.BytesIO()
    _Writer(written, mangle_from_=False).flatten(message)
    return written.getvalue()


class _Writer(BytesGenerator):
    """Writes mails; the library's fails at bytes that are no ASCII in a multipart without a boundary."""

    _fp: io.BytesIO

    def write(self, s: str) -> None:
        self._fp.write(s.encode(errors="surrogateescape"))


class _Size:
    """How many parts and headers a mail has so far."""

    def __init__(self) -> None:
        self.parts = 0
        self.headers = 0


class Part(Message):
    """A part of a mail, or the mail.

    Args:
        size: of the whole mail; this part is added to it.
        policy: of the library.

    Raises:
        Problem: 422, the mail has too many parts. The methods below raise it for the other bounds.
    """

    def __init__(self, size: _Size, policy: Policy) -> None:
        super().__init__(policy)
        self._size = size
        self.depth = 0
        size.parts += 1
        if size.parts > MOST_PARTS:
            raise fault(("mail",), f"it has more than {MOST_PARTS} parts")

    def attach(self, payload: Any) -> None:
        if isinstance(payload, Part):
            payload.depth = self.depth + 1
            if payload.depth > DEEPEST:
                raise fault(("mail",), f"its parts are nested more than {DEEPEST} deep")
        super().attach(payload)

    def set_raw(self, name: str, value: Any) -> None:
        self._size.headers += 1
        if self._size.headers > MOST_HEADERS:
            raise fault(("mail",), f"it has more than {MOST_HEADERS} headers")
        super().set_raw(name, value)

    def get(self, name: str, failobj: Any = None) -> Any:
        """The beginning of a header: the library reads parameters from it."""
        found = super().get(name, failobj)
        if found is failobj or len(str(found)) <= LONGEST_HEADER:
            return found
        return str(found)[:LONGEST_HEADER]
