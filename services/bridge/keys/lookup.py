"""Asks the database for a key that is not in memory, so that a new key is valid at once in every process.

Clients without a valid key must not load the database: what was not found is not looked up again, and the
rate of all look-ups is limited. Above it a new key is valid as soon as the keyring has read it.
"""

from collections import OrderedDict
from functools import partial

from services.bridge.keys import store
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.kit.token_bucket import TokenBucket

LOOKUPS_PER_SECOND = 10.0
BURST = 20.0
MOST_UNKNOWN = 10_000
#: What was not found is not looked up again for so long. Secrets and ids are random: none is used before
#: it exists.
UNKNOWN_SECONDS = 60.0


class KeyLookup:
    """Looks keys up by their digest or id.

    Args:
        database: with the table of keys.
        clock: keys expire by its time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self._clock = clock
        self._bucket = TokenBucket(LOOKUPS_PER_SECOND, BURST, BURST, clock.monotonic())
        #: Digest or id → when it was not found; the oldest first.
        self._unknown: OrderedDict[str, float] = OrderedDict()

    async def exists(self, digest_or_id: str) -> bool:
        """Whether the database has a valid key with this digest or id; false too if it is not asked."""
        now = self._clock.monotonic()
        if now - self._unknown.get(digest_or_id, -UNKNOWN_SECONDS) < UNKNOWN_SECONDS:
            return False
        if not self._bucket.take(now):
            return False
        work = partial(store.is_valid, digest_or_id=digest_or_id, now=self._clock.time())
        try:
            found = await self.database.read("keys", work)
        except Problem:  # the keyring reports that the database is down
            return False
        if not found:
            self._remember_unknown(digest_or_id, now)
        return found

    def _remember_unknown(self, digest_or_id: str, now: float) -> None:
        self._unknown[digest_or_id] = now
        self._unknown.move_to_end(digest_or_id)
        if len(self._unknown) > MOST_UNKNOWN:
            self._unknown.popitem(last=False)
