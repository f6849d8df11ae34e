"""Transactions of a worker: settle the results of attempts, and claim the next messages.

Both are one transaction: one fsync instead of two. If it fails, and not because the database is down, one
of its messages is at fault: they are then settled and claimed one by one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog
from sqlalchemy import Connection

from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.database.interface import StoreUnavailableError
from services.outbox import change_feed
from services.outbox.delivery import claims, settlement
from services.outbox.delivery.claims import ClaimedBatch
from services.outbox.delivery.fair_queue import FairQueue
from services.outbox.delivery.leases import Leases
from services.outbox.delivery.one_by_one import OneByOne
from services.outbox.delivery.plan import ChatRules
from services.outbox.delivery.reports import Reports
from services.outbox.delivery.result_buffer import ResultBuffer
from services.outbox.delivery.retry_policy import Policy
from services.outbox.messages import Settled
from services.outbox.rate_limit.bot_rate_limiter import Granted, LimitedSince
from services.outbox.rate_limit.chat_pace import ChatCall, ChatPace, is_limited
from services.outbox.rate_limit.limits import Limits

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The settings of one worker.

    Args:
        bot: name of the bot that it sends for.
        owner: unique name of this worker, on its leases.
        concurrency: calls to Telegram at once.
        limits: Telegram's rates for chats.
        policy: retries.
    """

    bot: str
    owner: str
    concurrency: int
    limits: Limits
    policy: Policy


class Transactions:
    """Settles and claims for one worker.

    Args:
        settings: of the worker.
        database: of the queue.
        clock: the time.
        results: of attempts, to be settled.
        leases: of the worker.
        reports: of what was settled, after the commit.
        rules: for muted chats and quiet hours.
        send: starts an attempt for each message that was claimed.
        chat_pace: of the bot's chats, shared with its other senders; None: the chats' rows alone decide.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        database: Database,
        clock: Clock,
        results: ResultBuffer,
        leases: Leases,
        reports: Reports,
        rules: ChatRules,
        send: Callable[[ClaimedBatch], None],
        chat_pace: ChatPace | None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._results = results
        self._leases = leases
        self._reports = reports
        self._rules = rules
        self._send = send
        self._chat_pace = chat_pace if is_limited(settings.limits) else None
        self._one_by_one = OneByOne(database, clock, settings.owner, settings.limits)
        self._fair_queue = FairQueue()
        #: The chat of each open attempt of this worker, from the claim to the settle.
        self._leased: dict[tuple[int, int], int] = {}
        #: Whether the last claim failed: the database may have committed it, and this worker does not know.
        self._claim_failed = False

    async def run(self, granted: Granted, paced_since: LimitedSince) -> ClaimedBatch:
        """Settles all results, and claims and sends as many messages as are granted.

        Args:
            granted: how many messages may go now; none: the results are settled only.
            paced_since: since when the bot's rate has delayed messages.

        Raises:
            StoreUnavailableError: the database is down; results that are not settled are kept.
        """
        if granted.all and self._claim_failed:
            await self._leases.release_unsent(self._settings.bot, set(self._leased.values()))
        self._claim_failed = self._claim_failed or granted.all > 0
        try:
            return await self._together(granted, paced_since)
        except StoreUnavailableError:
            raise
        except Exception:
            log.exception("worker_batch_failed")
        return await self._apart(granted, paced_since)

    async def _together(self, granted: Granted, paced_since: LimitedSince) -> ClaimedBatch:
        results = self._results.take()
        name = ("turn" if results else "claim") if granted.all else "settle"
        try:
            results = await self._spend(results)
            now = self._clock.time()
            work = partial(self._in_transaction, results=results, granted=granted)
            lost, batch = await self._database.write(name, partial(work, paced_since=paced_since, now=now))
        except BaseException:
            self._results.put_back(results)
            raise
        if granted.all:
            self._claimed(batch)
        await self._settled(results, lost, now)
        await self._reports.ended(batch.ended)
        return batch

    async def _spend(self, results: list[Settled]) -> list[Settled]:
        """Takes tokens of the shared pace for calls, and notes when their chats are open again."""
        calls = [ChatCall(one.message.chat_id, one.result.started_at) for one in results if _is_new_call(one)]
        if self._chat_pace is None or not calls:
            return results
        now = self._clock.time()
        open_at = await self._chat_pace.spend(calls, self._settings.limits, now)
        return [
            replace(one, chat_open_at=open_at.get(one.message.chat_id, now)) if _is_new_call(one) else one
            for one in results
        ]

    def _in_transaction(
        self,
        connection: Connection,
        *,
        results: Sequence[Settled],
        granted: Granted,
        paced_since: LimitedSince,
        now: float,
    ) -> tuple[set[int], ClaimedBatch]:
        settings, lost, batch = self._settings, set[int](), ClaimedBatch([])
        if results:
            lost = settlement.settle(connection, settings.owner, results, settings.limits, now)
        if granted.all:
            batch = claims.claim(
                connection,
                settings.bot,
                settings.owner,
                granted.free,
                paid=granted.paid,
                now=now,
                paced_since=paced_since,
                fair_queue=self._fair_queue,
                rules=self._rules,
            )
        return lost, batch

    async def _apart(self, granted: Granted, paced_since: LimitedSince) -> ClaimedBatch:
        results = self._results.take()
        while results:
            try:
                settled, lost = await self._one_by_one.settle(results[0])
            except BaseException:
                self._results.put_back(results)
                raise
            del results[0]
            await self._settled([settled], lost, self._clock.time())
        if not granted.all:
            return ClaimedBatch([])
        claim = partial(self._one_by_one.claim, paced_since=paced_since, fair_queue=self._fair_queue)
        batch = await claim(self._settings.bot, granted, rules=self._rules)
        self._claimed(batch)
        await self._reports.ended(batch.ended)
        return batch

    def _claimed(self, batch: ClaimedBatch) -> None:
        """Sends what was claimed, after the commit."""
        self._claim_failed = False
        self._leased |= {(message.seq, message.attempt): message.chat_id for message in batch.messages}
        self._send(batch)
        if batch.messages or batch.ended:
            self._database.notify_local(change_feed.CHANNEL)

    async def _settled(self, results: Sequence[Settled], lost: set[int], now: float) -> None:
        """Reports what was settled, after the commit."""
        for settled in results:
            del self._leased[settled.message.seq, settled.message.attempt]
        if results:
            self._database.notify_local(change_feed.CHANNEL)
        await self._reports.settled(results, lost, now)


def _is_new_call(one: Settled) -> bool:
    """Whether a result is of a call that no token was taken for: its transaction may fail and be repeated."""
    return not one.chat_open_at and one.result.reason not in settlement.NO_CALL
