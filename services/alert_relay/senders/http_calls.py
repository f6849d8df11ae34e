"""Calls by HTTP, limited in time and in what is read of an answer; what their ends mean.

They are not traced: the URL of an incoming webhook is a secret, and a span would have it.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import orjson

from services.alert_relay.senders.delivery import Ending, refused, sent, unknown
from services.kit.telemetry.telemetry import VERSION, Telemetry
from services.outbox.messages import Outcome, Reason

#: Seconds for one call; the lease of a message outlasts it.
CALL_SECONDS = 20.0
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0
#: Bytes that are read of an answer; what is longer is no answer of a channel.
MOST_READ = 65_536
#: A longer wait is cut: the channel is asked again.
LONGEST_RETRY_AFTER = 3_600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Args:
        status: of HTTP.
        body: its beginning, at most :data:`MOST_READ` bytes.
        retry_after: seconds, if the server names them.
    """

    status: int
    body: bytes
    retry_after: float | None = None

    @property
    def text(self) -> str:
        """The beginning of the body in one line, for people."""
        return " ".join(self.body[:300].decode("utf-8", "replace").split())

    @property
    def json(self) -> Mapping[str, object]:
        """The object of the body; empty if it is none."""
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return found if isinstance(found, dict) else {}


class HttpCalls:
    """Makes calls of one channel; opened and closed with it.

    Args:
        telemetry: counts the calls.
        provider: the channel, a metric label.
    """

    def __init__(self, telemetry: Telemetry, provider: str) -> None:
        self._telemetry = telemetry
        self._provider = provider
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        self._client = httpx.AsyncClient(
            timeout=timeout,
            follow_redirects=False,
            headers={"user-agent": f"CCTelegram/{VERSION}", "content-type": "application/json"},
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def post(
        self, endpoint: str, url: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Answer | Ending:
        """Posts a body; returns the whole answer, or how the call ended without one.

        Args:
            endpoint: what is called, a metric label.
            url: may hold a secret.
            body: JSON.
            headers: beside those of all calls.
        """
        start, status = time.perf_counter(), "none"
        try:
            async with (
                asyncio.timeout(CALL_SECONDS),
                self._client.stream("POST", url, content=body, headers=dict(headers or {})) as response,
            ):
                status = str(response.status_code)
                return Answer(response.status_code, await _read(response), _retry_after(response))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            return _failed(error)
        finally:
            self._telemetry.count_call(self._provider, endpoint, status, time.perf_counter() - start)


async def _read(response: httpx.Response) -> bytes:
    read = b""
    async for chunk in response.aiter_bytes():
        read += chunk
        if len(read) >= MOST_READ:
            break
    return read[:MOST_READ]


def _retry_after(response: httpx.Response) -> float | None:
    """Returns the seconds of ``Retry-After``, which is a number or a date."""
    given = response.headers.get("retry-after", "").strip()
    if given.isdigit():
        return min(float(given[:9]), LONGEST_RETRY_AFTER)
    try:
        seconds = (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER)


#: Nothing of the request left.
_NOT_REACHED = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.ProxyError,
    httpx.InvalidURL,
)


def _failed(error: Exception) -> Ending:
    """How a call without an answer ended. The texts of these errors may have the URL, so none is shown."""
    kind = type(error).__name__
    if isinstance(error, _NOT_REACHED):
        return refused(Reason.CONNECT_FAILED, f"not reached: {kind}")
    return unknown(Reason.NO_ANSWER, f"no whole answer: {kind}")


#: Statuses of a refusal that repeating does not change.
_REASONS = {
    401: Reason.NO_RIGHTS,
    403: Reason.NO_RIGHTS,
    404: Reason.CHAT_NOT_FOUND,
    410: Reason.CHAT_NOT_FOUND,
    413: Reason.TOO_LARGE,
}
_TOO_MANY, _SERVER_ERROR = 429, 500


def ending(answer: Answer) -> Ending:
    """Returns what the status of an answer means."""
    detail = f"HTTP {answer.status}: {answer.text}" if answer.text else f"HTTP {answer.status}"
    if answer.status == _TOO_MANY:
        return Ending(Outcome.NOT_SENT, Reason.FLOOD_CONTROL, detail, retry_after=answer.retry_after)
    if answer.status >= _SERVER_ERROR:
        return unknown(Reason.SERVER_ERROR, detail)
    if answer.status // 100 == 2:  # noqa: PLR2004 - 2xx
        return sent(detail)
    return refused(_REASONS.get(answer.status, Reason.BAD_REQUEST), detail)
