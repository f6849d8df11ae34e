"""The rules in force: those of ROUTES_FILE if it is set, else those of the database.

The file wins as a whole; the two are never merged.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy import Column, Connection, Double, Integer, MetaData, Table, Text, insert, select, update

from services.bridge.metrics import routes_reload_failures
from services.bridge.routes import document
from services.bridge.routes.document import BadRoutesError
from services.bridge.routes.routes import Routes
from services.bridge.watched_files import WatchedFiles
from services.contracts.routes import RoutesDocument
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.errors import Problem, invalid_input
from services.kit.health import Health, Level, Measurement
from services.kit.settings import StartError

log = structlog.get_logger()

PACKAGE = "services.bridge.routes"
CHANNEL = "routes"
READ_SECONDS = 1.0
_ONLY = 1

metadata = MetaData()

route_set = Table(
    "route_set",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    # Counts replacements: a writer who has not seen the last one is refused.
    Column("version", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("updated_by", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class StoredRoutes:
    """Routes with their version, time and author, and one line for each stored rule that is not in force."""

    document: RoutesDocument
    version: int = 0
    updated_at: float | None = None
    updated_by: str = ""
    faults: tuple[str, ...] = ()


class ActiveRoutes:
    """Holds the rules in force.

    Args:
        bots: the default recipients of each bot, for events without a matching rule.
        file: of ROUTES_FILE; None: the database's rules are in force.
        registry: of the service's metrics.
        clock: the time.

    Raises:
        StartError: the file is missing or invalid.
    """

    def __init__(
        self,
        bots: Mapping[str, tuple[int, ...]],
        file: Path | None,
        registry: CollectorRegistry,
        clock: Clock,
    ) -> None:
        self.file = file
        self.stored = StoredRoutes(RoutesDocument(routes=[]))
        self.routes = Routes(bots)
        self._clock = clock
        self._watched: WatchedFiles | None = None
        failures = routes_reload_failures(registry)
        if file is not None:
            self._watched = WatchedFiles(
                "routes", file, lambda: [file], partial(self._take_file, file), failures.inc
            )
            try:
                self._watched.begin()
            except (BadRoutesError, OSError) as error:
                why = error.strerror if isinstance(error, OSError) else str(error)
                lines = [f"ROUTES_FILE: {file}: {line}" for line in str(why).splitlines()]
                raise StartError("\n".join(lines)) from None

    @property
    def source(self) -> Literal["file", "api"]:
        return "api" if self.file is None else "file"

    @property
    def error(self) -> str | None:
        """Why a changed file or a stored rule is not in force; None if all are."""
        if self._watched is not None:
            return self._watched.error
        return "; ".join(self.stored.faults) or None

    def _take_file(self, file: Path) -> Mapping[str, Any]:
        changed_at = file.stat().st_mtime
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise BadRoutesError("it is not UTF-8 text") from None
        read = document.from_toml(text)
        if unknown := self._with(read).unknown_bots():
            raise BadRoutesError("\n".join(f"route {rule}: to.bot: no bot {bot}" for rule, bot in unknown))
        self._activate(StoredRoutes(read, updated_at=changed_at))
        return {"rules": len(self.routes.rules)}

    def _with(self, rules: RoutesDocument) -> Routes:
        return Routes(self.routes.bots, document.rules_of(rules))

    def set_recipients(self, bots: Mapping[str, tuple[int, ...]]) -> None:
        """Replaces the default recipients of each bot."""
        self.routes = Routes(bots, self.routes.rules)

    def _activate(self, stored: StoredRoutes) -> None:
        self.stored = stored
        self.routes = self._with(stored.document)

    async def read(self, database: Database) -> None:
        """Reads the database's rules, if they are newer."""
        stored = await database.read("routes", partial(_newer, than=self.stored.version))
        if stored is not None:
            self._activate(stored)
            if stored.faults:
                log.error("routes_not_read", version=stored.version, error=self.error)

    async def replace(self, database: Database, new: RoutesDocument, by: str, version: int | None) -> None:
        """Stores other rules and puts them in force.

        Args:
            database: of the bridge.
            new: all rules.
            by: name of the key.
            version: that the writer has read; None: any version is replaced.

        Raises:
            Problem: 409, a file is used, or the version is not the current one; 422, a bot is unknown.
        """
        if self.file is not None:
            raise Problem(409, "Routes are in a file", "ROUTES_FILE is set: change the routes there.")
        self.check_bots(new)
        work = partial(_replace, new=new, by=by, version=version, now=self._clock.time())
        await database.write("routes_write", work, notify=CHANNEL)
        await self.read(database)

    def check_bots(self, new: RoutesDocument) -> Routes:
        """The rules as routes.

        Raises:
            Problem: 422, they name an unknown bot.
        """
        routes = self._with(new)
        there = ", ".join(routes.bots)
        faults = [
            {"loc": ["body", "routes", rule, "to", "bot"], "msg": f"no bot is named {bot}; there are {there}"}
            for rule, bot in routes.unknown_bots()
        ]
        if faults:
            raise invalid_input(faults)
        return routes

    async def follow(self, database: Database) -> None:
        """Reads changes as they come, until cancelled."""
        while self._watched is not None:
            await asyncio.sleep(READ_SECONDS)
            # Not in a thread: `set_recipients` changes the same rules.
            self._watched.read()
        while True:
            await database.wait(CHANNEL, READ_SECONDS)
            try:
                await self.read(database)
            except Problem as problem:
                log.warning("routes_not_read", error=str(problem))
                await asyncio.sleep(READ_SECONDS)

    async def check(self) -> Measurement:
        """Health: degraded if a changed file or a stored rule is invalid, or a rule names an unknown bot."""
        measured: dict[str, Any] = {"source": self.source, "rules": len(self.routes.rules)}
        if unknown := self.routes.unknown_bots():
            measured["unknown_bots"] = sorted({bot for _, bot in unknown})
            return Measurement(Level.DEGRADED, measured)
        if self.error:
            return Measurement(Level.DEGRADED, measured | {"error": self.error})
        return Measurement(Level.HEALTHY, measured)


def _newer(connection: Connection, than: int) -> StoredRoutes | None:
    row = connection.execute(select(route_set).where(route_set.c.id == _ONLY)).first()
    if row is None or row.version == than:
        return None
    read, faults = document.from_stored(row.document)
    return StoredRoutes(read, row.version, row.updated_at, row.updated_by, tuple(faults))


def _replace(connection: Connection, new: RoutesDocument, by: str, version: int | None, now: float) -> None:
    query = select(route_set.c.version).where(route_set.c.id == _ONLY).with_for_update()
    there: int | None = connection.execute(query).scalar()
    if version is not None and version != (there or 0):
        raise Problem(
            409, "Changed meanwhile", f"The routes are at version {there or 0}.", version=there or 0
        )
    values = {
        "version": (there or 0) + 1,
        "document": new.model_dump_json(by_alias=True),
        "updated_at": now,
        "updated_by": by,
    }
    if there is None:
        connection.execute(insert(route_set).values(id=_ONLY, **values))
    else:
        connection.execute(update(route_set).where(route_set.c.id == _ONLY).values(**values))


@asynccontextmanager
async def open_active_routes(
    routing: ActiveRoutes, database: Database, health: Health
) -> AsyncIterator[None]:
    """Follows changes of the rules while the block runs."""
    if routing.file is None:
        await routing.read(database)
    health.add("routes", routing.check)
    follower = asyncio.create_task(routing.follow(database))
    try:
        yield
    finally:
        follower.cancel()
        for ended in await asyncio.gather(follower, return_exceptions=True):
            if isinstance(ended, Exception):
                log.error("routes_failed", exc_info=ended)
