"""Bodies that are read piece by piece: uploads, which may be large and may take long."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

#: The extension of the ASGI scope by which a route says that it took a part of the body.
PROGRESS = "cctelegram.body_progress"
#: A client must send so many bytes in the time that another one has for its whole body.
PROGRESS_BYTES = 65_536
#: Bytes that are read and thrown away after a refusal: a client that is still sending reads no response.
DRAINED_BYTES = 64 << 20


class BodyStream:
    """The body of a request.

    Args:
        request: whose body nothing else reads.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._progress = progress_of(request.scope)
        self._ended = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives; the server stops receiving while it is not read.

        Raises:
            ClientDisconnect: the connection ended before the body did.
        """
        waiting = 0
        while not self._ended:
            message = await self._request.receive()
            if message["type"] != "http.request":
                self._ended = True
                raise ClientDisconnect
            piece = message.get("body", b"")
            self._ended = not message.get("more_body", False)
            waiting += len(piece)
            if waiting >= PROGRESS_BYTES:
                self._progress()
                waiting = 0
            if piece:
                yield piece

    async def drain(self) -> None:
        """Reads the rest of a refused body, so that the client reads the response; not all of a long one."""
        size = 0
        with suppress(ClientDisconnect):
            async for piece in self.pieces():
                size += len(piece)
                if size > DRAINED_BYTES:
                    return


def progress_of(scope: Scope) -> Callable[[], None]:
    """What to call when a part of the body was taken: it is held no more, and the client has more time."""
    extensions: dict[str, Any] = scope.get("extensions") or {}
    found: Callable[[], None] = extensions.get(PROGRESS, _nothing)
    return found


def _nothing() -> None:
    """Another server, which has no limit for a body."""
