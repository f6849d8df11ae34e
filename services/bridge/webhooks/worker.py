"""The worker of webhooks: makes due calls, and decides when a failed one is retried.

Waits are those that Standard Webhooks recommends; 2xx is success, 410 is final. Each origin may use a part of
the concurrent calls only, so that an origin that hangs does not delay the others.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial

import aiohttp
import structlog

from services.bridge.metrics import WebhookMetrics
from services.bridge.webhooks import store
from services.bridge.webhooks.destinations import Destinations, GuardedSockets
from services.bridge.webhooks.store import CHANNEL, GONE, Call, State, Tried
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import VERSION, Telemetry
from services.kit.web import webhook_signatures

log = structlog.get_logger()

#: Seconds before each retry: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h, 14 h.
WAITS = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 36_000.0, 50_400.0)
POLL_SECONDS = 1.0
AT_ONCE = 64
AT_ONCE_FOR_ONE = 8
#: Another replica may be about to claim the due call.
_SHORTEST_REST = 0.02
#: Longest error that is stored with a call, characters.
LONGEST_ERROR = 1_000
#: The answer's body is not used; this much of it is read so that the connection can be reused.
_READ_BYTES = 65_536


class WebhookWorker:
    """Makes calls until cancelled.

    Args:
        database: that holds the calls.
        secret: signs calls without a secret of their own.
        allowed: the addresses that may be called.
        timeout: seconds for one call.
        telemetry: of the service.
        metrics: of webhook calls.
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
        #: Running calls and their origins.
        self._under_way: dict[asyncio.Task[None], str] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works while the block runs; the lease of an unfinished call then expires."""
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def run(self) -> None:
        connector = aiohttp.TCPConnector(socket_factory=GuardedSockets(self._allowed), limit=AT_ONCE)
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            try:
                await self._work(session)
            finally:
                for task in self._under_way:
                    task.cancel()
                await asyncio.gather(*tuple(self._under_way), return_exceptions=True)

    async def _work(self, session: aiohttp.ClientSession) -> None:
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
        with self._database.subscribe(CHANNEL) as news:
            waiting = await self._database.read("webhook_next", store.waiting)
            room = self._room(waiting, self._clock.time())
            if room and await self._begin(session, room):
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause(waiting)):
                    await news.wait()

    def _room(self, waiting: Mapping[str, float], now: float) -> dict[str, int]:
        """How many calls may begin now, by origin; the origin that is due longest comes first."""
        busy, free = Counter(self._under_way.values()), AT_ONCE - len(self._under_way)
        room: dict[str, int] = {}
        for whom in sorted(waiting, key=waiting.__getitem__):
            most = min(free, AT_ONCE_FOR_ONE - busy[whom])
            if waiting[whom] <= now and most > 0:
                room[whom] = most
                free -= most
        return room

    def _pause(self, waiting: Mapping[str, float]) -> float:
        """Seconds until the next call is due; a new call and the end of one wake the worker too."""
        if len(self._under_way) == AT_ONCE:
            return POLL_SECONDS
        busy, now = Counter(self._under_way.values()), self._clock.time()
        due = (at - now for whom, at in waiting.items() if busy[whom] < AT_ONCE_FOR_ONE)
        return min(POLL_SECONDS, max(_SHORTEST_REST, min(due, default=POLL_SECONDS)))

    async def _begin(self, session: aiohttp.ClientSession, room: Mapping[str, int]) -> bool:
        """Claims calls and starts them; False if there was none."""
        # Twice the timeout, so that a running call is never due again.
        lease = 2 * self._timeout + POLL_SECONDS
        take = partial(store.take, room=room, now=self._clock.time(), lease=lease)
        calls = await self._database.write("webhook_take", take)
        for call in calls:
            task = asyncio.create_task(self._one(session, call))
            self._under_way[task] = call.origin
            task.add_done_callback(self._ended)
        return bool(calls)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._database.notify_local(CHANNEL)

    async def _one(self, session: aiohttp.ClientSession, call: Call) -> None:
        try:
            await self._make(session, call)
        except Problem as problem:
            log.warning("webhook_not_settled", call_id=call.id, error=str(problem))
        except Exception:
            log.exception("webhook_failed", call_id=call.id)

    async def _make(self, session: aiohttp.ClientSession, call: Call) -> None:
        started = self._clock.time()
        measured = self._clock.monotonic()
        status, error = await self._post(session, call, int(started))
        self._telemetry.count_call(
            "webhook", call.kind, str(status or "none"), self._clock.monotonic() - measured
        )
        now = self._clock.time()
        state, due_at = decide(call, status, error, now, random.random())  # noqa: S311 - spreads retries
        self._metrics.calls.labels(call.kind, state.value).inc()
        if state is not State.DELIVERED:
            log.warning(
                "webhook_not_taken", call_id=call.id, attempt=call.attempt, error=error, state=state.value
            )
        tried = Tried(call, state, started, now, status, error, due_at)
        if await self._database.write("webhook_settle", partial(store.settle, tried=tried)):
            log.warning("webhook_endpoint_disabled", origin=call.origin, error=error)

    async def _post(
        self, session: aiohttp.ClientSession, call: Call, timestamp: int
    ) -> tuple[int | None, str]:
        """The status (None: no answer) and the error (empty: the call was accepted)."""
        refusal = call.refused or self._allowed.refusal(call.url)
        if refusal:
            return None, refusal
        try:
            body = call.body.encode()
            headers = {
                "content-type": "application/json",
                "user-agent": f"CCTelegram/{VERSION}",
                **webhook_signatures.headers(call.secret or self._secret, call.id, timestamp, body),
                **({"traceparent": call.traceparent} if call.traceparent else {}),
            }
            async with session.post(call.url, data=body, headers=headers, allow_redirects=False) as answer:
                await answer.content.read(_READ_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
            return None, _reason(failure)
        accepted = answer.status // 100 == 2  # noqa: PLR2004 - 2xx; redirects are not followed
        return answer.status, "" if accepted else f"answered {answer.status}"


def _reason(failure: Exception) -> str:
    if isinstance(failure, TimeoutError):
        return "no answer in time"
    # The texts of these two have the whole URL, which may carry a secret.
    if isinstance(failure, aiohttp.ClientResponseError):
        return f"no HTTP answer: {failure.message}" if failure.message else "no HTTP answer"
    if isinstance(failure, aiohttp.InvalidURL):
        return "this is no URL"
    # PostgreSQL stores no NUL.
    return (str(failure) or type(failure).__name__)[:LONGEST_ERROR].replace("\0", "")


def decide(call: Call, status: int | None, error: str, now: float, jitter: float) -> tuple[State, float]:
    """The next state of a call, and when it is due again. Pure.

    Args:
        call: with the number of the attempt just made.
        status: of the answer, or None.
        error: empty if the call was accepted.
        now: seconds since the epoch.
        jitter: a random number in [0, 1), spreads the wait by ±10 %.
    """
    if not error:
        return State.DELIVERED, now
    if call.refused or status == GONE or call.attempt > len(WAITS):
        return State.FAILED, now
    return State.WAITING, now + WAITS[call.attempt - 1] * (0.9 + 0.2 * jitter)
