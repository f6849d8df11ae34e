"""The valid keys in memory, so that a request needs no database.

Every replica reads them twice a second, and at once when a replica has changed a key. While the database
cannot be read the last known keys stay valid, and the health component ``keys`` is degraded.

A key that is not in memory is looked up in the database, within limits, so a new key is valid at once.

A request that stays open, such as a stream, watches its key and ends with it.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial

import structlog
from sqlalchemy import Connection

from services.bridge.keys import keys, signing, store
from services.bridge.keys.keys import Key
from services.bridge.keys.lookup import KeyLookup
from services.bridge.settings import BridgeSettings
from services.contracts.keys import KeyKind
from services.kit.background import run_in_background
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.kit.health import Health, Level, Measurement
from services.kit.settings import StartError
from services.kit.web.auth import read_or_create_secret
from services.kit.web.service import own_key
from services.outbox.intake import single_use

log = structlog.get_logger()

PACKAGE = "services.bridge.keys"
SHORTEST_MASTER = 32
READ_SECONDS = 0.5
#: A watched key that has expired is noticed within this time.
EXPIRY_SECONDS = 0.5
NOTE_SECONDS = 10.0
STALE_SECONDS = 5.0
#: Scope of used signatures among single-use names.
SIGNATURES = "signature"


class ApiKeyring:
    """Finds a key by its secret or its id.

    Args:
        own: the suite's own key, valid whatever the database holds.
        master: the secrets of signing keys are derived from it.
        clock: the time.
    """

    def __init__(self, own: Key, master: bytes, clock: Clock) -> None:
        self._own = own
        self._master = master
        self._clock = clock
        self._bearers = {bytes.fromhex(own.digest): own}
        self._signers: dict[str, tuple[Key, str]] = {}
        self._foreign: set[str] = set()
        self._revoked: set[str] = set()
        self._read_at: float | None = None
        self._used: dict[str, float] = {}
        self._ids = frozenset({own.id})
        self._watched: dict[asyncio.Event, Key] = {}
        self._lookup: KeyLookup | None = None
        #: So that an earlier reading does not replace a later one.
        self._reading = asyncio.Lock()

    def look_up_in(self, database: Database) -> None:
        """From now on keys that are not in memory are looked up in this database."""
        self._lookup = KeyLookup(database, self._clock)

    def holder(self, secret: str) -> Key | None:
        """The valid key with this secret, or None.

        The look-up is by digest, so its duration reveals nothing about a stored key.
        """
        key = self._bearers.get(hashlib.sha256(secret.encode()).digest())
        if key is None or not key.lives(self._clock.time()):
            return None
        return key

    async def find_holder(self, secret: str) -> Key | None:
        """As :meth:`holder`; a key that is not in memory is looked up."""
        found = self.holder(secret)
        if found is None and await self._learn(keys.digest_of(secret)):
            found = self.holder(secret)
        return found

    async def find_signer(self, key_id: str) -> tuple[Key, str] | None:
        """As :meth:`signer`; a key that is not in memory is looked up."""
        found = self.signer(key_id)
        if found is None and await self._learn(key_id):
            found = self.signer(key_id)
        return found

    async def _learn(self, digest_or_id: str) -> bool:
        """Reads the keys again if the database has this one; false if it has not."""
        if self._lookup is None or not await self._lookup.exists(digest_or_id):
            return False
        await self.read(self._lookup.database)
        return True

    def knows(self, key: str) -> bool:
        return self.holder(key) is not None

    def signer(self, key_id: str) -> tuple[Key, str] | None:
        """The valid signing key with this id, and its secret; None if there is none."""
        found = self._signers.get(key_id)
        return found if found and found[0].lives(self._clock.time()) else None

    def secret_of(self, key_id: str) -> str:
        """The secret of a new signing key."""
        return keys.signing_secret(self._master, key_id)

    @contextmanager
    def watch(self, key: Key) -> Iterator[asyncio.Event]:
        """Yields an event that is set when the key is revoked or expires, for a request that stays open.

        It is set at once when this replica revokes the key, and within a second otherwise.
        """
        ended = asyncio.Event()
        self._watched[ended] = key
        self.notify_watchers()
        try:
            yield ended
        finally:
            del self._watched[ended]

    def notify_watchers(self) -> None:
        """Sets the events of the watched keys that are no longer valid."""
        now = self._clock.time()
        for ended, key in self._watched.items():
            if key.id not in self._ids or not key.lives(now):
                ended.set()

    def used(self, key: Key) -> None:
        """Notes that a key was used; :meth:`note` writes it."""
        if key is not self._own:
            self._used[key.id] = self._clock.time()

    def take(self, living: Iterable[Key]) -> None:
        """Replaces all keys but the suite's own."""
        bearers = {bytes.fromhex(self._own.digest): self._own}
        signers: dict[str, tuple[Key, str]] = {}
        foreign = set()
        for key in living:
            if key.id in self._revoked:
                continue
            if key.kind is KeyKind.BEARER:
                bearers.setdefault(bytes.fromhex(key.digest), key)
            elif keys.digest_of(secret := self._secret(key.id)) == key.digest:
                signers[key.id] = (key, secret)
            else:
                foreign.add(key.id)
        if foreign - self._foreign:
            log.error("signing_master_differs", keys=sorted(foreign), fix="SIGNING_MASTER")
        self._foreign = foreign
        self._read_at = self._clock.monotonic()
        self._replace(bearers, signers)

    def remove(self, key_id: str) -> None:
        """Removes a key that was revoked here; a read that began before does not restore it."""
        self._revoked.add(key_id)
        self._replace(
            {digest: key for digest, key in self._bearers.items() if key.id != key_id},
            {known: found for known, found in self._signers.items() if known != key_id},
        )

    def _replace(self, bearers: dict[bytes, Key], signers: dict[str, tuple[Key, str]]) -> None:
        self._bearers, self._signers = bearers, signers
        self._ids = frozenset({*signers, *(key.id for key in bearers.values())})
        self.notify_watchers()

    def _secret(self, key_id: str) -> str:
        known = self._signers.get(key_id)
        return known[1] if known else keys.signing_secret(self._master, key_id)

    async def read(self, database: Database) -> None:
        """Reads all keys from the database."""
        async with self._reading:
            self.take(await database.read("keys", partial(store.living, now=self._clock.time())))

    async def run(self, database: Database) -> None:
        """Reads the keys and writes their use repeatedly, until cancelled."""
        noted_at = self._clock.monotonic()
        with database.subscribe(store.CHANNEL) as changed:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), READ_SECONDS)
                changed.clear()
                try:
                    await self.read(database)
                    if self._clock.monotonic() - noted_at >= NOTE_SECONDS:
                        noted_at = self._clock.monotonic()
                        await self.note(database)
                except Problem as problem:
                    log.warning("keys_not_read", error=str(problem))
                    await asyncio.sleep(READ_SECONDS)

    async def watch_expiry(self) -> None:
        """Notifies the watchers of expired keys, also while the database cannot be read; until cancelled."""
        while True:
            await asyncio.sleep(EXPIRY_SECONDS)
            self.notify_watchers()

    async def note(self, database: Database) -> None:
        """Writes when keys were used, and deletes used signatures that have expired."""
        used, self._used = self._used, {}
        oldest = self._clock.time() - signing.REMEMBERED_SECONDS

        def work(connection: Connection) -> None:
            store.note_used(connection, used)
            single_use.delete_names(connection, SIGNATURES, before=oldest)

        await database.write("key_used", work)

    async def check(self) -> Measurement:
        """Health: degraded while keys cannot be read, since revocations elsewhere are missed then."""
        if self._read_at is None:
            return Measurement(Level.UNKNOWN)
        age = self._clock.monotonic() - self._read_at
        measured = {
            "keys": len(self._bearers) + len(self._signers),
            "read_age_seconds": round(age, 1),
            **({"other_signing_master": len(self._foreign)} if self._foreign else {}),
        }
        fit = age <= STALE_SECONDS and not self._foreign
        return Measurement(Level.HEALTHY if fit else Level.DEGRADED, measured)


def signing_master(settings: BridgeSettings) -> bytes:
    """The secret that signing keys are derived from; the same in every replica.

    Raises:
        StartError: it is too short, or its file cannot be written.
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
        raise StartError(f"DATA_DIR: cannot write the signing master to {path}: {error.strerror}") from error


def make_keyring(settings: BridgeSettings, clock: Clock) -> ApiKeyring:
    """A keyring that holds the suite's own key only; :func:`open_keyring` reads the others."""
    return ApiKeyring(keys.own(own_key(settings)), signing_master(settings), clock)


@asynccontextmanager
async def open_keyring(ring: ApiKeyring, database: Database, health: Health) -> AsyncIterator[None]:
    """Reads the keys, and refreshes them while the block runs."""
    await ring.read(database)
    ring.look_up_in(database)
    health.add("keys", ring.check)
    try:
        async with run_in_background(ring.run(database), ring.watch_expiry()):
            yield
    finally:
        await ring.note(database)
