"""Posts events as many clients would, and records each answer as one JSON line.

Each stream (a chat's lane) is posted in order: the next request waits until the last one was answered or
given up. A request with an Idempotency-Key is repeated until it is answered. A request without one is
repeated only if no connection was made.
"""

import asyncio
import itertools
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import orjson

POSTERS = 12
PRIORITIES = {0: "urgent", 1: "normal", 2: "low"}
#: Lines of a long event: it needs several Telegram messages, and is too short for a document.
LONG_LINES = 160
ANSWER_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the posted events, 0 to 1."""

    keyed: float = 0.5
    batch: float = 0.1
    hold: float = 0.1
    expiring: float = 0.04
    long: float = 0.02


@dataclass
class Client:
    """Posts events to the bridges, and records requests and answers.

    Args:
        urls: of the bridges, which get the requests in turn.
        key: bearer key.
        record: file that it writes.
        chats: recipients.
        messages: total number.
        random: makes all choices.
        mix: shares of the kinds of events.
        posted: messages posted so far.
        answered: messages answered or given up so far.
    """

    urls: list[str]
    key: str
    record: Path
    chats: list[int]
    messages: int
    random: Random
    mix: Mix = field(default_factory=Mix)
    posted: int = 0
    answered: int = 0

    def __post_init__(self) -> None:
        self._allowed = 0
        self._more = asyncio.Event()
        self._number = itertools.count(1)
        self._next: dict[tuple[int, int], int] = defaultdict(int)

    def allow(self, messages: int) -> None:
        """Allows this many more messages to be posted."""
        self._allowed = min(self.messages, self._allowed + messages)
        self._more.set()

    @property
    def waits(self) -> bool:
        """Whether all allowed messages have been posted."""
        return self.posted >= self._allowed

    async def run(self) -> None:
        """Posts until all messages are answered or given up."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        # Unbuffered: after a crash the record still has all that the client knew.
        with self.record.open("wb", buffering=0) as record:
            async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
                posters = [self._post_to(session, record, self.chats[n::POSTERS]) for n in range(POSTERS)]
                await asyncio.gather(*posters)

    async def _post_to(self, session: aiohttp.ClientSession, record: Any, chats: list[int]) -> None:
        random = Random(self.random.random())  # noqa: S311 - a repeatable run, no secret
        while chats and self.posted < self.messages:
            if self.waits:
                self._more.clear()
                await self._more.wait()
                continue
            await self._post(session, record, random, random.choice(chats))

    async def _post(self, session: aiohttp.ClientSession, record: Any, random: Random, chat_id: int) -> None:
        room = self._allowed - self.posted
        count = min(room, random.randint(2, 12)) if random.random() < self.mix.batch else 1
        events, notes = zip(*(self._event(random, chat_id) for _ in range(count)), strict=True)
        self.posted += count
        number = next(self._number)
        keyed = random.random() < self.mix.keyed
        key = f"proof-{number}-{random.getrandbits(64):x}" if keyed else None
        body = orjson.dumps(events[0] if count == 1 else list(events))
        _write(record, {"do": "post", "request": number, "key": key, "events": notes})
        await self._until_answered(session, record, number, key, body)
        self.answered += count

    def _event(self, random: Random, chat_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
        lane = random.choices((0, 1, 2), (1, 6, 2))[0]
        number = self._next[chat_id, lane]
        self._next[chat_id, lane] += 1
        name = f"Proof {chat_id}/{lane}/{number}"
        event: dict[str, Any] = {
            "type": "info_notification",
            "title": name,
            "chat_id": chat_id,
            "priority": PRIORITIES[lane],
        }
        long = random.random() < self.mix.long
        if long:
            event["data"] = {"results": "\n".join(f"{name}/{line:04}" for line in range(LONG_LINES))}
        hold, expires = random.random() < self.mix.hold, random.random() < self.mix.expiring
        if hold:
            event["on_unknown"] = "hold"
        if expires:
            event["expires_at"] = datetime.fromtimestamp(
                time.time() + random.uniform(0.5, 20), UTC
            ).isoformat()
        return event, {
            "chat_id": chat_id,
            "lane": lane,
            "number": number,
            "lines": LONG_LINES if long else 0,
            "hold": hold,
            "expires": expires,
        }

    async def _until_answered(
        self, session: aiohttp.ClientSession, record: Any, number: int, key: str | None, body: bytes
    ) -> None:
        headers = {"Idempotency-Key": key} if key else {}
        for turn in itertools.count(number):
            url = f"{self.urls[turn % len(self.urls)]}/api/v1/events"
            try:
                async with session.post(url, data=body, headers=headers) as response:
                    text = await response.read()
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)  # nothing was sent, so this was no try
                continue
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                _write(record, {"do": "lost", "request": number, "error": type(error).__name__})
                if key is None:
                    return
                await asyncio.sleep(0.05)
                continue
            _write(record, _answer(number, response.status, text))
            if response.status == 202 or key is None or response.status not in (409, 503):
                return
            await asyncio.sleep(0.2)


def _answer(number: int, status: int, text: bytes) -> dict[str, Any]:
    note: dict[str, Any] = {"do": "answer", "request": number, "status": status}
    if status == 202:
        answer = orjson.loads(text)
        accepted = answer.get("accepted", [answer])
        note["ids"] = [event["message_ids"][0] for event in accepted]
    else:
        note["text"] = text.decode(errors="replace")[:500]
    return note


def _write(record: Any, note: dict[str, Any]) -> None:
    record.write(orjson.dumps({"at": time.time(), **note}) + b"\n")
