"""Opens what the keys need: the ring before the service is made, its keeper while it runs."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from services.bridge.keys import keys
from services.bridge.keys.keyring import Ring
from services.bridge.settings import BridgeSettings
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.health import Health
from services.kit.settings import StartError
from services.kit.web.auth import read_or_create_secret
from services.kit.web.service import own_key

log = structlog.get_logger()

PACKAGE = "services.bridge.keys"
SHORTEST_MASTER = 32


def master_of(settings: BridgeSettings) -> bytes:
    """What the secrets of signing keys are derived from; the same in every replica.

    Raises:
        StartError: it is too short, or cannot be kept.
    """
    if settings.signing_master is not None:
        given = settings.signing_master.get_secret_value()
        if len(given) < SHORTEST_MASTER:
            raise StartError(f"SIGNING_MASTER: {SHORTEST_MASTER} characters or more are needed")
        return given.encode()
    path = settings.data_dir / "signing_master"
    try:
        return read_or_create_secret(path, lambda: secrets.token_urlsafe(48))[0].encode()
    except OSError as error:
        raise StartError(f"DATA_DIR: cannot keep the signing master in {path}: {error.strerror}") from error


def ring_of(settings: BridgeSettings, clock: Clock) -> Ring:
    """The keyring, with the suite's own key alone."""
    return Ring(keys.own(own_key(settings)), master_of(settings), clock)


@asynccontextmanager
async def open_keys(ring: Ring, database: Database, health: Health) -> AsyncIterator[None]:
    """Reads the keys, and keeps them fresh for the length of the block."""
    await ring.read(database)
    health.add("keys", ring.check)
    keeper = asyncio.create_task(ring.keep(database))
    try:
        yield
    finally:
        keeper.cancel()
        for ended in await asyncio.gather(keeper, return_exceptions=True):
            if isinstance(ended, Exception):
                log.error("keys_failed", exc_info=ended)
        await ring.note(database)
