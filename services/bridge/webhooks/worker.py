"""Makes the calls that are due, and decides when one is tried again.

The waits are those that Standard Webhooks recommends; 2xx is taken, 410 ends it at once.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import structlog

from services.bridge.webhooks import signing, store
from services.bridge.webhooks.destinations import Destinations, GuardedResolver
from services.bridge.webhooks.metrics import WebhookMetrics
from services.bridge.webhooks.store import CHANNEL, Call, State, Tried
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.errors import Problem
from services.kit.telemetry import VERSION, Telemetry

log = structlog.get_logger()

#: Units of work, for the database's metrics.
OPERATIONS = ("webhook_take", "webhook_settle", "webhook_next")
#: Seconds before each repetition: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h, 14 h.
WAITS = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 36_000.0, 50_400.0)
GONE = 410
POLL_SECONDS = 1.0
AT_ONCE = 32
#: A program that does not answer keeps others waiting no longer than its own calls.
AT_ONCE_TO_ONE = 8
#: Of the other side's answer nothing is needed but that it ended.
_READ_BYTES = 65_536


class WebhookWorker:
    """Makes calls until cancelled.

    Args:
        database: that holds the calls.
        secret: signs calls without a secret of their own.
        allowed: where calls may go.
        timeout: seconds for one call.
        telemetry: of the service.
        metrics: the calls'.
        clock: the time.
    """

    def __init__(
        self,
        database: Database,
        *,
        secret: str,
        allowed: Destinations,
        timeout: float,
        telemetry: Telemetry,
        metrics: WebhookMetrics,
        clock: Clock,
    ) -> None:
        self._database = database
        self._secret = secret
        self._allowed = allowed
        self._timeout = timeout
        self._telemetry = telemetry
        self._metrics = metrics
        self._clock = clock
        #: Calls that are being made, with their URLs.
        self._under_way: dict[asyncio.Task[None], str] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works for the length of the block; at its end a call under way is left to its lease."""
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            for one in (task, *self._under_way):
                one.cancel()
            await asyncio.gather(task, *self._under_way, return_exceptions=True)

    async def run(self) -> None:
        connector = aiohttp.TCPConnector(resolver=GuardedResolver(self._allowed), limit=AT_ONCE)
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            while True:
                try:
                    await self._once(session)
                except Problem as problem:
                    log.warning("webhooks_wait", error=str(problem))
                    await asyncio.sleep(POLL_SECONDS)
                except Exception:
                    log.exception("webhooks_failed")
                    await asyncio.sleep(POLL_SECONDS)

    async def _once(self, session: aiohttp.ClientSession) -> None:
        self._put_away()
        busy = [url for url, number in Counter(self._under_way.values()).items() if number >= AT_ONCE_TO_ONE]
        room = min(AT_ONCE - len(self._under_way), AT_ONCE_TO_ONE)
        calls = await self._take(room, busy) if room else []
        for call in calls:
            self._under_way[asyncio.create_task(self._make(session, call))] = call.url
        if not calls:
            await self._rest(busy, full=not room)

    def _put_away(self) -> None:
        """What has ended; a call that could not be settled is due again after its lease."""
        ended = [task for task in self._under_way if task.done()]
        for task in ended:
            del self._under_way[task]
        for failure in [task.exception() for task in ended]:
            if failure is not None:
                raise failure

    async def _take(self, room: int, busy: Sequence[str]) -> list[Call]:
        # Twice the timeout: a call that is still under way must not be due again.
        lease = 2 * self._timeout + POLL_SECONDS
        take = partial(store.take, limit=room, now=self._clock.time(), lease=lease, but=busy)
        return await self._database.write("webhook_take", take)

    async def _rest(self, busy: Sequence[str], *, full: bool) -> None:
        """Until there is news, or room, or the next call is due."""
        due = None if full else await self._database.read("webhook_next", partial(store.next_due, but=busy))
        wait = POLL_SECONDS if due is None else min(POLL_SECONDS, due - self._clock.time())
        if wait > 0:
            news = asyncio.create_task(self._database.wait(CHANNEL, wait))
            try:
                await asyncio.wait([news, *self._under_way], return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()

    async def _make(self, session: aiohttp.ClientSession, call: Call) -> None:
        started = self._clock.time()
        measured = self._clock.monotonic()
        status, error = await self._post(session, call, int(started))
        self._telemetry.count_call(
            "webhook", call.kind, str(status or "none"), self._clock.monotonic() - measured
        )
        now = self._clock.time()
        state, due_at = decide(call, status, error, now, random.random())  # noqa: S311 - spreads repetitions
        self._metrics.calls.labels(call.kind, state.value).inc()
        if state is not State.DELIVERED:
            log.warning(
                "webhook_not_taken", call_id=call.id, attempt=call.attempt, error=error, state=state.value
            )
        tried = Tried(call, state, started, now, status, error, due_at)
        await self._database.write("webhook_settle", partial(store.settle, tried=tried))

    async def _post(
        self, session: aiohttp.ClientSession, call: Call, timestamp: int
    ) -> tuple[int | None, str]:
        """The status (None: no answer came) and what was wrong; empty when nothing was."""
        refusal = self._allowed.refusal(call.url)
        if refusal is not None:
            return None, refusal
        body = call.body.encode()
        headers = {
            "content-type": "application/json",
            "user-agent": f"CCTelegram/{VERSION}",
            **signing.headers(call.secret or self._secret, call.id, timestamp, body),
            **({"traceparent": call.traceparent} if call.traceparent else {}),
        }
        try:
            async with session.post(call.url, data=body, headers=headers, allow_redirects=False) as answer:
                await answer.content.read(_READ_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
            return None, _said(failure)
        taken = answer.status // 100 == 2  # noqa: PLR2004 - 2xx; a redirect is not followed, so it is none
        return answer.status, "" if taken else f"answered {answer.status}"


def _said(failure: Exception) -> str:
    if isinstance(failure, TimeoutError):
        return "no answer in time"
    return str(failure) or type(failure).__name__


def decide(call: Call, status: int | None, error: str, now: float, jitter: float) -> tuple[State, float]:
    """What becomes of a call, and when it is due again. Pure.

    Args:
        call: with the number of the attempt just made.
        status: of the answer, or None.
        error: empty where it was taken.
        now: seconds since the epoch.
        jitter: a random number in [0, 1), over ±10 % of the wait.
    """
    if not error:
        return State.DELIVERED, now
    if status == GONE or call.attempt > len(WAITS):
        return State.FAILED, now
    return State.WAITING, now + WAITS[call.attempt - 1] * (0.9 + 0.2 * jitter)
