"""An event with its files in one request: a form whose part ``event`` is the event, the others its files."""

from collections.abc import AsyncIterable
from typing import Any

import orjson

from services.bridge.files import names
from services.contracts.files import MOST_ATTACHMENTS
from services.kit.errors import Problem, invalid_input
from services.kit.web.multipart import Form, Part
from services.outbox.files.store import FileStore

#: Name of the part with the event, JSON.
EVENT = "event"


async def body_of(content_type: str, pieces: AsyncIterable[bytes], store: FileStore, largest: int) -> bytes:
    """Stores the files of a form; returns its event as JSON, with them as attachments.

    The same form gives the same bytes, since the same content has the same ID: its Idempotency-Key holds.

    Args:
        content_type: of the request.
        pieces: its body.
        store: gets the files as they arrive.
        largest: bytes of the event.

    Raises:
        Problem: the form cannot be read, has no event, or the store refuses a file.
    """
    event: bytes | None = None
    files: list[dict[str, Any]] = []
    async for part in Form(content_type, pieces).parts():
        if part.name == EVENT and part.filename is None:
            if event is not None:
                raise Problem(400, "Bad Request", "The form has two parts `event`.")
            event = await _whole(part, largest)
        elif part.filename is None:
            text = f"The part {part.name!r} has no file name: write event='{{…}}' and file=@name."
            raise Problem(400, "Bad Request", text)
        else:
            if len(files) == MOST_ATTACHMENTS:
                raise _too_many()
            stored = await store.write(part.content)
            name = names.complete(names.safe(part.filename), stored.media_type)
            files.append({"file_id": stored.id, "filename": name})
    return _with_files(event, files)


async def _whole(part: Part, largest: int) -> bytes:
    found = bytearray()
    async for piece in part.content:
        found += piece
        if len(found) > largest:
            raise Problem(413, "Content Too Large", f"The event may have {largest} bytes (MAX_BODY_BYTES).")
    return bytes(found)


def _with_files(event: bytes | None, files: list[dict[str, Any]]) -> bytes:
    if event is None:
        raise Problem(400, "Bad Request", "The form has no part `event`, the event as JSON.")
    try:
        written = orjson.loads(event)
    except orjson.JSONDecodeError as error:
        raise invalid_input([{"loc": [EVENT], "msg": f"not valid JSON: {error}"}]) from None
    if not isinstance(written, dict):
        raise invalid_input([{"loc": [EVENT], "msg": "a form has one event, an object"}])
    named = written.get("attachments") or []
    if not isinstance(named, list):
        raise invalid_input([{"loc": ["attachments"], "msg": "Input should be a valid list"}])
    if len(named) + len(files) > MOST_ATTACHMENTS:
        raise _too_many()
    return orjson.dumps(written | {"attachments": [*named, *files]})


def _too_many() -> Problem:
    return invalid_input([{"loc": ["attachments"], "msg": f"an event has at most {MOST_ATTACHMENTS} files"}])
