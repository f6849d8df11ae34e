"""A backup under load, the loss of everything, and a restore at another place: counted, on both databases.

The sandbox is Telegram: it keeps what the lost bridge delivered after the backup.
"""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import servers
from tests.e2e.suite import NO_LIMITS, ROOT, Program, program, report, sandbox_program
from tests.ports import free_port
from tests.servers import KEY, Postgres, Sandbox, until

pytestmark = pytest.mark.timeout(300)
CHATS = range(100_000, 100_200)
#: While Telegram is slow, fewer messages leave the bridge than come in: a backlog grows.
SLOW = {"kind": "latency", "seconds": 5.0, "seconds_max": 5.0, "times": None}
REPEATED = "Perhaps a repetition"


@pytest.fixture
async def telegram(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with sandbox_program(tmp_path / "telegram") as sandbox:
        await sandbox.post("/chats/range", {"first_id": CHATS.start, "count": len(CHATS)})
        yield sandbox


@dataclass
class Place:
    """A bridge's data folder and database; ``database_url`` is empty for SQLite."""

    folder: Path
    telegram: Sandbox
    database_url: str
    port: int = field(default_factory=free_port)

    @property
    def environment(self) -> dict[str, str]:
        database = {"DATABASE_URL": self.database_url} if self.database_url else {}
        return (
            NO_LIMITS
            | database
            | {
                "BRIDGE_PORT": str(self.port),
                "TELEGRAM_API_URL": self.telegram.url,
                "SEND_CONCURRENCY": "32",
            }
        )

    @asynccontextmanager
    async def bridge(self) -> AsyncIterator[tuple[Program, httpx.AsyncClient]]:
        url = f"http://127.0.0.1:{self.port}"
        async with (
            program("services.bridge", self.folder, url, **self.environment) as running,
            servers.http(url, key=KEY) as client,
        ):
            yield running, client

    async def run(self, *words: str) -> str:
        """Runs a command with the settings of this place; returns what it writes."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *words,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "DATA_DIR": str(self.folder)} | self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()


class Client:
    """Posts events one after the other, and keeps when each was accepted."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        #: The number of an event → when its 202 was read.
        self.accepted: dict[int, float] = {}
        self.stop = asyncio.Event()

    async def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            chat = CHATS[number % len(CHATS)]
            event = {"type": "custom_event", "title": f"event {number}.", "chat_id": chat}
            answer = await self._client.post("/events", json=event)
            assert answer.status_code == 202, answer.text
            self.accepted[number] = time.monotonic()
            number += 1

    async def until_accepted(self, number: int) -> None:
        async def enough() -> bool:
            return len(self.accepted) >= number

        await until(enough, patience=90)

    async def until_waiting(self, number: int, telegram: Sandbox) -> None:
        """Until so many more are accepted than delivered."""

        async def enough() -> bool:
            return len(self.accepted) - len(await telegram.texts()) >= number

        await until(enough, patience=90)


def number_of(text: str) -> int:
    return int(text.partition("event ")[2].partition(".")[0])


@dataclass(frozen=True)
class Loss:
    """What the lost bridge leaves behind, besides its backup.

    Args:
        accepted: number of events.
        before: numbers of those that were accepted before the backup began.
        delivered: number of messages in the chats when it was killed; requests under way may add some.
    """

    accepted: int
    before: set[int]
    delivered: int


async def lose(place: Place, telegram: Sandbox, backups: Path) -> Loss:
    """Makes a backup under load, goes on for a while, and kills the bridge."""
    await telegram.faults(SLOW)
    async with place.bridge() as (process, http):
        client = Client(http)
        posting = asyncio.create_task(client.run())
        await client.until_waiting(200, telegram)
        began = time.monotonic()
        await place.run("services.backup", str(backups))
        before = {number for number, at in client.accepted.items() if at < began}
        waiting = before - {number_of(text) for text in await telegram.texts()}
        assert len(waiting) >= 50
        await client.until_accepted(len(client.accepted) + 50)
        client.stop.set()
        await posting
        await telegram.no_faults()

        async def some_of_them_arrived() -> bool:
            arrived = {number_of(text) for text in await telegram.texts()}
            return len(waiting & arrived) >= len(waiting) // 2

        await until(some_of_them_arrived)
        await process.end(signal.SIGKILL)
    return Loss(len(client.accepted), before, len(await telegram.texts()))


@pytest.mark.parametrize(("store", "unsent"), [("sqlite", "hold"), ("postgresql", "mark")])
async def test_nothing_from_before_the_backup_is_lost_and_nothing_is_repeated_without_the_mark(
    request: pytest.FixtureRequest, telegram: Sandbox, tmp_path: Path, store: str, unsent: str
) -> None:
    with ExitStack() as stack:
        urls = ["", ""]
        if store == "postgresql":
            server: Postgres = request.getfixturevalue("postgres")
            urls = [stack.enter_context(server.database()) for _ in range(2)]
        old, new = (Place(tmp_path / f"place-{n}", telegram, url) for n, url in enumerate(urls))
        loss = await lose(old, telegram, tmp_path / "backups")
        said = await new.run("services.restore", str(tmp_path / "backups"), "--unsent", unsent)
        async with new.bridge() as (_, http):
            held = await held_numbers(http)
            copies = await drained(http, telegram, loss.before - held)
            if unsent == "hold":
                assert not any(text.startswith(REPEATED) for text in copies)  # nothing was sent by itself
                assert not repeated(copies)
                await replay_held(http)
                copies = await drained(http, telegram, loss.before, marked=len(held))
    marked = [text for text in copies if text.startswith(REPEATED)]
    unmarked = repeated([text for text in copies if not text.startswith(REPEATED)])
    missing = loss.before - {number_of(text) for text in copies}
    report(
        f"backup under load ({store}, {unsent}): accepted {loss.accepted}, before the backup"
        f" {len(loss.before)}; delivered by the lost bridge {loss.delivered}; after the restore held"
        f" {len(held)}, sent with the mark {len(marked)}; delivered twice {len(repeated(copies))},"
        f" of them without the mark {len(unmarked)}; lost {len(missing)}"
    )
    assert len(repeated(copies)) >= 20
    assert (missing, unmarked) == (set(), set())
    assert f"{len(marked)} {'held' if unsent == 'hold' else 'marked'}" in said


def repeated(texts: list[str]) -> set[int]:
    """The numbers that are in more than one text."""
    return {number for number, times in Counter(map(number_of, texts)).items() if times > 1}


async def held_numbers(http: httpx.AsyncClient) -> set[int]:
    found: set[int] = set()
    cursor: str | None = None
    while True:
        wanted = {"status": "unknown", "limit": "500"} | ({"cursor": cursor} if cursor else {})
        page: Any = (await http.get("/api/v1/messages", params=wanted)).json()
        found |= {number_of(item["title"]) for item in page["items"]}
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def replay_held(http: httpx.AsyncClient) -> None:
    wanted = {"status": ["unknown"], "reason": ["restored"]}
    answer = await http.post("/api/v1/dead-letters/replay", json=wanted)
    assert answer.status_code == 202, answer.text


async def drained(
    http: httpx.AsyncClient, sandbox: Sandbox, wanted: set[int], *, marked: int = 0
) -> list[str]:
    """All texts in the chats, once these events and so many marked ones are there, and nothing waits."""

    async def done() -> list[str] | None:
        waiting = {"status": ["queued", "sending", "retry_wait"], "limit": "1"}
        rest = (await http.get("/api/v1/messages", params=waiting)).json()["items"]
        texts = await sandbox.texts()
        enough = sum(text.startswith(REPEATED) for text in texts) >= marked
        return texts if enough and not rest and wanted <= {number_of(text) for text in texts} else None

    return await until(done, patience=90)
