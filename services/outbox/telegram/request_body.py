"""The body of a call: its parameters as JSON, or as a form where one of them is a file."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Protocol

import orjson
import telegram
from aiohttp import FormData
from aiohttp.payload import AsyncIterablePayload


@dataclass(slots=True)
class StoredUpload:
    """A file that is read while it is sent; ``size`` is in bytes.

    Attributes:
        failure: why it could not be read to its end. The request is incomplete then, so no server acts on it.
    """

    filename: str
    media_type: str
    size: int
    chunks: AsyncIterator[bytes]
    failure: Exception | None = field(default=None)

    async def read(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self.chunks:
                yield chunk
        except Exception as error:
            self.failure = error
            raise


class _SizedPayload(AsyncIterablePayload):
    """A stream whose size is known: the request has a Content-Length, as Telegram's servers want it."""

    def __init__(self, upload: StoredUpload) -> None:
        super().__init__(upload.read(), content_type=upload.media_type)
        self._size = upload.size


class Parameters(Protocol):
    """Parameters of a call: the public attributes that ``RequestData`` of python-telegram-bot has as well."""

    @property
    def contains_files(self) -> bool: ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON values by name."""

    @property
    def multipart_data(self) -> Mapping[str, tuple[str, Any, str]]:
        """Files by name of the parameter: file name, content, MIME type."""


@dataclass(frozen=True, slots=True)
class CallParameters:
    """Parameters of :meth:`Bot.call`. ``RequestData`` itself takes private objects of the library."""

    parameters: Mapping[str, Any]
    multipart_data: Mapping[str, tuple[str, Any, str]]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "CallParameters":
        """Separates files from JSON values; None values are left out.

        Files are :class:`telegram.InputFile` and :class:`StoredUpload`.
        """
        files = {
            name: value.field_tuple for name, value in values.items() if isinstance(value, telegram.InputFile)
        } | {
            name: (value.filename, value, value.media_type)
            for name, value in values.items()
            if isinstance(value, StoredUpload)
        }
        others = {name: value for name, value in values.items() if value is not None and name not in files}
        return cls(others, files)

    @property
    def contains_files(self) -> bool:
        return bool(self.multipart_data)


def encoded(data: Parameters | None) -> tuple[dict[str, Any], int]:
    """Returns the arguments of aiohttp for the body, and the size of its files in bytes."""
    if data is None:
        return {}, 0
    if not data.contains_files:
        return {"json": data.parameters}, 0
    # The Bot API server reads filename="…" alone, in UTF-8 with backslashes; filename*= it ignores.
    form = FormData(quote_fields=False)
    for name, value in data.parameters.items():
        form.add_field(name, value if isinstance(value, str) else orjson.dumps(value).decode())
    size = 0
    for name, (filename, content, mime_type) in data.multipart_data.items():
        if isinstance(content, StoredUpload):
            form.add_field(name, _SizedPayload(content), filename=filename)
            size += content.size
            continue
        whole = content if isinstance(content, bytes) else content.read()
        # As a stream, which aiohttp sends in pieces: a large write at once would block the event loop.
        form.add_field(name, BytesIO(whole), filename=filename, content_type=mime_type)
        size += len(whole)
    return {"data": form}, size


def unread(data: Parameters | None) -> Exception | None:
    """Why a file of the request could not be read to its end; None where all could."""
    files = (content for _, content, _ in data.multipart_data.values()) if data is not None else ()
    failures = (file.failure for file in files if isinstance(file, StoredUpload))
    return next((failure for failure in failures if failure is not None), None)
