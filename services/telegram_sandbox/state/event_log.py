"""The event log: everything that happened, as append-only JSON lines in memory and in a file.

Each line has `seq` (1, 2, 3 … without gaps) and `time`. A line is written with one system call before the
answer is sent, so a killed process loses nothing that a client could have seen.
"""

import asyncio
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson


class EventLog:
    """The newest lines in memory, and all lines in the file.

    Args:
        path: of the file; None: in memory only.
        lines_in_memory: at most.
    """

    def __init__(self, path: Path | None, lines_in_memory: int) -> None:
        self.path = path
        self.seq = 0
        self._lines: deque[bytes] = deque(maxlen=lines_in_memory)
        self._fd: int | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def waiting(self) -> int:
        """How many callers of :meth:`wait` wait now."""
        return len(self._waiters)

    @property
    def oldest(self) -> int:
        """The `seq` of the oldest line in memory."""
        return self.seq - len(self._lines) + 1

    def replay(self) -> Iterator[dict[str, Any]]:
        """Yields the entries of the file, oldest first; skips a line that a crash cut off."""
        if self.path is None or not self.path.exists():
            return
        with self.path.open("rb") as lines:
            for line in lines:
                try:
                    entry = orjson.loads(line)
                except orjson.JSONDecodeError:
                    continue
                self.seq = max(self.seq, int(entry.get("seq", 0)))
                self._lines.append(line)
                yield entry

    def open(self) -> None:
        """Opens the file for appending.

        Raises:
            OSError: the file cannot be written.
        """
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            size = os.fstat(self._fd).st_size
            if size and os.pread(self._fd, 1, size - 1) != b"\n":
                os.write(self._fd, b"\n")  # end the line that a crash cut off

    @property
    def is_open(self) -> bool:
        return self.path is None or self._fd is not None

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def append(self, entry: dict[str, Any]) -> int:
        """Writes one entry and returns its `seq`. If the file cannot be written, memory is not changed."""
        line = orjson.dumps({"seq": self.seq + 1, **entry}) + b"\n"
        if self._fd is not None:
            os.write(self._fd, line)
        self.seq += 1
        self._lines.append(line)
        if self._waiters:
            self._wake()
        return self.seq

    def read(self, after: int, limit: int) -> list[bytes]:
        """Returns up to `limit` lines of memory with a `seq` greater than `after`, oldest first."""
        begin = max(0, after + 1 - self.oldest)
        return [self._lines[index] for index in range(begin, min(len(self._lines), begin + limit))]

    async def wait(self, after: int, seconds: float) -> bool:
        """Waits for a line after `after`; returns False if none came within `seconds`."""
        if self.seq > after:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return True

    def release(self) -> None:
        """Ends every wait, because the service stops."""
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
