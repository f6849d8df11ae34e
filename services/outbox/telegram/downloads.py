"""Downloads of files that people sent: getFile, then the content piece by piece from the server's file URL.

The file URL contains the token: no error, log line or metric of this module repeats it.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from services.outbox.telegram import values
from services.outbox.telegram.errors import BadAnswerError, NoAnswerError

#: Longest path that is read; Telegram's have fewer than 100 characters.
LONGEST_PATH = 1_024
#: Most bytes of a file that are passed on. Telegram's own servers give 20 MiB, a local one more.
LARGEST_FILE = 2**31
#: Longest wait for the server over all pieces, seconds; each piece adds the time that it takes at this rate.
WAIT_SECONDS = 35.0
SLOWEST = 16_384


@dataclass(frozen=True, slots=True)
class Download:
    """A file on its way: the body of the server's answer. Close it, also after an error."""

    answer: aiohttp.ClientResponse

    @property
    def size(self) -> int | None:
        """Bytes, as the server says; None: it does not."""
        # The length of a compressed body is not that of the file.
        return None if "Content-Encoding" in self.answer.headers else self.answer.content_length

    async def pieces(self) -> AsyncIterator[bytes]:
        """The content, piece by piece.

        Raises:
            NoAnswerError: it did not come to its end.
            BadAnswerError: it is larger than :data:`LARGEST_FILE`.
        """
        received, waited = 0, 0.0
        clock = asyncio.get_running_loop().time
        try:
            while True:
                began = clock()
                async with asyncio.timeout(WAIT_SECONDS + received / SLOWEST - waited):
                    piece = await self.answer.content.readany()
                if not piece:
                    return
                # Only the server's time counts: a client that reads slowly may.
                waited += clock() - began
                received += len(piece)
                if received > LARGEST_FILE:
                    raise BadAnswerError(f"the file is larger than {LARGEST_FILE} bytes")
                yield piece
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswerError(f"the file did not come to its end: {type(error).__name__}") from error

    def close(self) -> None:
        """Ends the download; what was not read is not read any more."""
        self.answer.close()


def path_of(result: Any) -> str:
    """The path of the file that getFile answers, as a part of a URL.

    Raises:
        BadAnswerError: the answer has no path under the server's file URL.
    """
    try:
        path = values.text(result["file_path"], LONGEST_PATH + 1)
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswerError("the answer to getFile has no path of the file") from error
    steps = path.split("/")
    is_plain = path.isprintable() and "\\" not in path and len(path) <= LONGEST_PATH
    # An empty step begins an absolute path, or follows a scheme.
    if not is_plain or any(step in {"", ".", ".."} for step in steps):
        raise BadAnswerError(
            "the answer to getFile has a path that is not under the server's file URL;"
            " a local Bot API server must run without --local"
        )
    return quote(path)
