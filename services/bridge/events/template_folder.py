"""The folder of templates, TEMPLATES_DIR: a change is used within a second, or refused as a whole.

A template that cannot be compiled is logged and shown by health; the templates of before stay in use.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from services.bridge.events import templates as reading
from services.bridge.events.templates import BadTemplatesError, Templates
from services.bridge.metrics import template_failures, templates_reload_failures
from services.kit.background import run_in_background
from services.kit.health import Health, Level, Measurement
from services.kit.settings import StartError

log = structlog.get_logger()

READ_SECONDS = 1.0

#: Name, time of the last change, size and number of each template file.
_Stamp = tuple[tuple[str, int, int, int], ...]


class TemplateFolder:
    """Keeps the templates of a folder up to date.

    Args:
        folder: TEMPLATES_DIR.
        registry: of the service's metrics.

    Raises:
        StartError: the folder or a file cannot be read, or a template is invalid; one line for each fault.
    """

    def __init__(self, folder: Path, registry: CollectorRegistry) -> None:
        self.folder = folder
        self.error: str | None = None
        self._failures = templates_reload_failures(registry)
        try:
            self._stamp = _stamp(folder)
            sources = reading.read_sources(folder)
            self.templates = Templates(sources, template_failures(registry).inc)
        except (BadTemplatesError, OSError) as error:
            lines = [f"TEMPLATES_DIR: {line}" for line in _reason(error).splitlines()]
            raise StartError("\n".join(lines)) from error

    def read(self) -> None:
        """Takes changed templates; if they are invalid, logs why and keeps the present ones."""
        try:
            stamp = _stamp(self.folder)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self.templates.replace(reading.read_sources(self.folder))
        except (BadTemplatesError, OSError) as error:
            self._fail(_reason(error))
        else:
            self.error = None
            log.info("templates_read", folder=str(self.folder), templates=self.templates.names)

    def _fail(self, error: str) -> None:
        if error != self.error:  # logged once, not every second
            self._failures.inc()
            log.error("templates_not_read", folder=str(self.folder), error=error)
        self.error = error

    async def follow(self) -> None:
        """Reads changes until cancelled."""
        while True:
            await asyncio.sleep(READ_SECONDS)
            await asyncio.to_thread(self.read)

    async def check(self) -> Measurement:
        """Health: degraded while a changed template is not in use."""
        measured = {"templates": len(self.templates.names)}
        if self.error:
            return Measurement(Level.DEGRADED, {**measured, "error": self.error})
        return Measurement(Level.HEALTHY, measured)


def _stamp(folder: Path) -> _Stamp:
    found = [(path.name, path.stat()) for path in reading.template_files(folder)]
    return tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in found)


def _reason(error: Exception) -> str:
    return f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)


@asynccontextmanager
async def open_templates(folder: TemplateFolder | None, health: Health) -> AsyncIterator[None]:
    """Follows changes of the folder while the block runs."""
    if folder is None:
        yield
        return
    health.add("templates", folder.check, every=1.0)
    async with run_in_background(folder.follow()):
        yield
