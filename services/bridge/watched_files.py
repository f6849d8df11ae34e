"""Files of an operator that are read again when they change: a change is taken as a whole, or refused.

A refused one is logged and shown by health, and what was taken before stays in use.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from services.kit.background import run_in_background
from services.kit.health import Health, Level, Measurement

log = structlog.get_logger()

READ_SECONDS = 1.0

#: Name, time of the last change, size and number of each file.
Stamp = tuple[tuple[str, int, int, int], ...]


class InvalidFileError(Exception):
    """A file cannot be used; the text has one line for each fault."""


class WatchedFiles:
    """Reads files when they have changed.

    Args:
        name: of what they hold, in plural, for logs and health: such as ``templates``.
        where: the folder or the file.
        files: lists the files that count; may raise OSError.
        take: reads all of them and puts them in use, or raises InvalidFileError or OSError and changes
            nothing; returns what is logged, and shown by health.
        on_refusal: called for each change that is refused.
    """

    def __init__(
        self,
        name: str,
        where: Path,
        files: Callable[[], Iterable[Path]],
        take: Callable[[], Mapping[str, Any]],
        on_refusal: Callable[[], None] = lambda: None,
    ) -> None:
        self.where = where
        self.error: str | None = None
        self._name = name
        self._log_names = (f"{name}_read", f"{name}_not_read")
        self._files = files
        self._take = take
        self._on_refusal = on_refusal
        self._stamp: Stamp | None = None
        self._taken: Mapping[str, Any] = {}

    def begin(self) -> None:
        """Takes the files for the first time.

        Raises:
            InvalidFileError: a file is invalid.
            OSError: one cannot be read.
        """
        self._stamp = _stamp(self._files())
        self._taken = self._take()

    def read(self) -> None:
        """Takes changed files; if one is invalid, logs why and keeps what is in use.

        Files that cannot be read are tried again each time: a mount or a permission leaves their stamp alone.
        """
        try:
            stamp = _stamp(self._files())
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._taken = self._take()
        except InvalidFileError as error:
            self._refuse(reason(error))
        except OSError as error:
            self._stamp = None
            self._refuse(reason(error))
        except Exception as error:
            # Their compiler failed: the loop must go on, and health must say so.
            log.exception(self._log_names[1], where=str(self.where))
            self._refuse(f"{type(error).__name__}: {error}")
        else:
            self.error = None
            log.info(self._log_names[0], where=str(self.where), **self._taken)

    def _refuse(self, error: str) -> None:
        if error != self.error:  # logged once, not every second
            self._on_refusal()
            log.error(self._log_names[1], where=str(self.where), error=error)
        self.error = error

    async def follow(self) -> None:
        """Reads changes until cancelled."""
        while True:
            await asyncio.sleep(READ_SECONDS)
            await asyncio.to_thread(self.read)

    async def check(self) -> Measurement:
        """Health: degraded while a changed file is not in use."""
        if self.error:
            return Measurement(Level.DEGRADED, {**self._taken, "error": self.error})
        return Measurement(Level.HEALTHY, dict(self._taken))

    @asynccontextmanager
    async def followed(self, health: Health) -> AsyncIterator[None]:
        """Follows changes while the block runs; ``health`` gets a component of this name."""
        health.add(self._name, self.check, every=1.0)
        async with run_in_background(self.follow()):
            yield


def reason(error: Exception) -> str:
    """Why a file is not used, for people; one line for each fault."""
    return f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)


def _stamp(files: Iterable[Path]) -> Stamp:
    found = [(path.name, path.stat()) for path in files]
    return tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in found)
