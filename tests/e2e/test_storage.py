"""What happens to the storage under running services: full disks, damaged files, deleted folders.

All of it through the API: a post is answered 503 where it is not stored, the service is not ready meanwhile,
and it is ready again by itself when there is room again. Nothing that was answered 202 is lost.
"""

import asyncio
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests import disks, servers
from tests.alert_relay.payloads import recorded
from tests.disks import SmallDisk
from tests.e2e.suite import NO_LIMITS, Program, Suite, finished, program, report, sandbox_program
from tests.ports import free_port
from tests.servers import KEY, Postgres, Sandbox, until

pytestmark = pytest.mark.timeout(300)
CHATS = range(100_000, 100_050)
#: Most posts of a test: a disk of some megabytes is full long before.
MANY = 4_000
FILLER = "x" * 2_000


@pytest.fixture
async def telegram(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with sandbox_program(tmp_path / "telegram") as sandbox:
        await sandbox.post("/chats/range", {"first_id": CHATS.start, "count": len(CHATS)})
        yield sandbox


async def post(client: httpx.AsyncClient, number: int) -> httpx.Response:
    chat = CHATS[number % len(CHATS)]
    event = {"type": "custom_event", "title": f"event {number}.", "chat_id": chat, "description": FILLER}
    return await client.post("/events", json=event)


async def post_until_refused(client: httpx.AsyncClient, begin: int) -> list[int]:
    """Posts until a post is refused; returns the numbers that were accepted."""
    accepted: list[int] = []
    for number in range(begin, begin + MANY):
        answer = await post(client, number)
        if answer.status_code != 202:
            assert answer.status_code == 503, answer.text
            return accepted
        accepted.append(number)
    raise AssertionError("the disk is never full")


async def database(client: httpx.AsyncClient) -> dict[str, Any]:
    component: dict[str, Any] = (await client.get("/health")).json()["components"]["database"]
    return component


async def is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health/ready")).status_code == 200
    except httpx.TransportError:  # not started yet
        return False


async def not_ready(client: httpx.AsyncClient) -> dict[str, str] | None:
    answer = await client.get("/health/ready")
    missing: dict[str, str] = answer.json()["not_ready"]
    return missing if answer.status_code == 503 else None


async def titles(sandbox: Sandbox) -> list[int]:
    """The numbers of the events that reached their chats, each as often as it did."""
    texts = await sandbox.texts()
    return [int(text.partition("event ")[2].partition(".")[0]) for text in texts if "event " in text]


async def all_started(process: Program) -> bool:
    return "Ctrl-C stops it" in process.words.read_text(encoding="utf-8")


async def all_arrived(sandbox: Sandbox, numbers: Collection[int]) -> list[int]:
    """Waits until these events are in their chats; returns the numbers of all that are."""

    async def there() -> list[int] | None:
        arrived = await titles(sandbox)
        return arrived if set(numbers) <= set(arrived) else None

    return await until(there, patience=60)


@asynccontextmanager
async def relay_of(suite: Suite) -> AsyncIterator[httpx.AsyncClient]:
    async with servers.http(f"http://127.0.0.1:{suite.ports['ALERT_RELAY_PORT']}", key=KEY) as client:
        yield client


async def test_a_full_disk_is_503_and_not_ready_in_both_services_and_heals_by_itself(
    telegram: Sandbox, small_disk: SmallDisk, tmp_path: Path
) -> None:
    events = small_disk.folder / "events"
    suite = Suite(
        tmp_path,
        telegram,
        DATA_DIR=str(small_disk.folder / "data"),
        EVENTS_DIR=str(events),
        LOG_LEVEL="ERROR",
    )
    async with suite.running() as (_, client), relay_of(suite) as relay:
        await until(lambda: is_ready(client))
        accepted = [number for number in range(20) if (await post(client, number)).status_code == 202]
        in_folder = {"type": "custom_event", "title": "event 9999.", "chat_id": CHATS.start}
        (events / ".waiting").write_bytes(orjson.dumps(in_folder))
        small_disk.fill()
        accepted += await post_until_refused(client, 20)
        (events / ".waiting").rename(events / "waiting.json")
        assert await until(lambda: not_ready(client)) == {"database": "unhealthy"}
        assert "full" in (await database(client))["error"]
        refused = await _webhook_until_refused(relay)
        assert refused.status_code == 503
        assert await until(lambda: not_ready(relay)) == {"database": "unhealthy"}
        small_disk.free()
        # No client posts anything meanwhile.
        await until(lambda: is_ready(client))
        await until(lambda: is_ready(relay))
        assert (await post(client, MANY)).status_code == 202
        accepted.append(MANY)
        arrived = await all_arrived(telegram, {*accepted, 9999})
        assert len(arrived) == len(set(arrived))
        report(f"full disk: {len(accepted)} accepted, lost 0, twice 0")


async def _webhook_until_refused(relay: httpx.AsyncClient) -> httpx.Response:
    payload = recorded("first")
    for number in range(MANY):
        payload["groupKey"] = f"{{}}:{{n={number}}}"
        for alert in payload["alerts"]:
            alert["fingerprint"] = f"{number:016x}"
            alert["annotations"]["summary"] = FILLER
        answer = await relay.post("/webhook/alert", json=payload)
        if answer.status_code != 200:
            return answer
    raise AssertionError("the disk is never full")


@pytest.mark.parametrize("gone", ["folder", "log"])
async def test_after_the_data_is_deleted_no_post_is_accepted_any_more(
    telegram: Sandbox, tmp_path: Path, gone: str
) -> None:
    data = tmp_path / "data"
    suite = Suite(tmp_path, telegram, DATA_DIR=str(data))
    async with suite.running() as (process, client), relay_of(suite) as relay:
        await until(lambda: is_ready(client))
        await until(lambda: is_ready(relay))
        assert (await post(client, 1)).status_code == 202
        if gone == "folder":
            shutil.rmtree(data)
        else:
            (data / "bridge.db-wal").unlink()
            (data / "alert_relay.db-wal").unlink()
        answers = [await post(client, number) for number in range(2, 10)]
        assert [answer.status_code for answer in answers] == [503] * 8
        assert "was deleted while it was open" in answers[0].json()["detail"]
        webhook = await relay.post("/webhook/alert", json=recorded("first"))
        assert webhook.status_code == 503
        for service in (client, relay):
            assert await until(partial(not_ready, service)) == {"database": "unhealthy"}
            assert "was deleted while it was open" in (await database(service))["error"]
        assert process.process.returncode is None


async def test_an_overwritten_database_is_not_ready(telegram: Sandbox, tmp_path: Path) -> None:
    data = tmp_path / "data"
    suite = Suite(tmp_path, telegram, DATA_DIR=str(data))
    async with suite.running() as (_, client):
        assert (await post(client, 1)).status_code == 202
        await finished(client, 1)
    async with suite.running() as (_, client):
        await until(lambda: is_ready(client))
        await asyncio.to_thread(_overwrite, data / "bridge.db")
        assert await until(lambda: not_ready(client)) == {"database": "unhealthy"}
        assert (await post(client, 2)).status_code == 503
        assert await not_ready(client) == {"database": "unhealthy"}


def _overwrite(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with path.open("r+b") as file:
        file.write(b"\xa5" * path.stat().st_size)


async def test_a_disk_that_refuses_writes_is_not_ready_until_it_takes_them_again(
    telegram: Sandbox, tmp_path: Path
) -> None:
    """By the limit of the operating system on the size of a file: every write is an I/O error."""
    suite = Suite(tmp_path, telegram, DATA_DIR=str(tmp_path / "data"))
    async with suite.running() as (process, client):
        await until(lambda: all_started(process))
        _limit_files(process, 0)
        assert (await post(client, 1)).status_code == 503
        assert await until(lambda: not_ready(client)) == {"database": "unhealthy"}
        assert "I/O error" in (await database(client))["error"]
        _limit_files(process, resource.RLIM_INFINITY)
        await until(lambda: is_ready(client))
        assert (await post(client, 2)).status_code == 202


def _limit_files(process: Program, largest: int) -> None:
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))


# PostgreSQL


@pytest.fixture
def postgres_disk(small_disk: SmallDisk) -> Iterator[SmallDisk]:
    """Large enough for a cluster with its log."""
    with disks.small_disk(160) as disk:
        yield disk


@asynccontextmanager
async def bridge_program(
    tmp_path: Path, telegram: Sandbox, database_url: str
) -> AsyncIterator[httpx.AsyncClient]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = NO_LIMITS | {
        "BRIDGE_PORT": str(port),
        "DATABASE_URL": database_url,
        "TELEGRAM_API_URL": telegram.url,
    }
    async with (
        program("services.bridge", tmp_path / "bridge", url, **environment),
        servers.http(url, key=KEY) as client,
    ):
        await until(lambda: is_ready(client))
        yield client


@pytest.mark.parametrize("on_it", ["everything", "only the log"])
async def test_a_full_disk_under_postgresql_loses_nothing(
    telegram: Sandbox, postgres: Postgres, postgres_disk: SmallDisk, tmp_path: Path, on_it: str
) -> None:
    """PostgreSQL may stop when its write-ahead log has no room: somebody starts it again."""
    postgres_disk.give_to(postgres.user)
    options = ("-c", "max_wal_size=32MB", "-c", "min_wal_size=32MB")
    where = (
        {"wal": postgres_disk.folder / "wal"} if on_it == "only the log" else {"within": postgres_disk.folder}
    )
    with servers.postgres(postgres.programs, options, **where) as server:
        server.sql("CREATE DATABASE bridge")
        async with bridge_program(tmp_path, telegram, server.url("bridge")) as client:
            accepted = [number for number in range(20) if (await post(client, number)).status_code == 202]
            postgres_disk.fill()
            if on_it == "only the log":
                await asyncio.to_thread(_fill_the_log, server)
            accepted += await post_until_refused(client, 20)
            assert await until(lambda: not_ready(client)) == {"database": "unhealthy"}
            reason = (await database(client))["error"]
            postgres_disk.free()

            async def ready_again() -> bool:
                if server.process.poll() is not None:
                    await asyncio.to_thread(server.start)
                return await is_ready(client)

            await until(ready_again, patience=90)
            assert (await post(client, MANY)).status_code == 202
            accepted.append(MANY)
            arrived = await all_arrived(telegram, accepted)
        twice = len(arrived) - len(set(arrived))
        report(
            f"full disk under PostgreSQL ({on_it}): {len(accepted)} accepted, lost 0, twice {twice}: {reason}"
        )


def _fill_the_log(server: Postgres) -> None:
    """Other work of the server, until it stops: its log was as long as the disk allowed."""
    server.sql("CREATE TABLE other (filler text)")
    rows = "generate_series(1, 40000) AS part, generate_series(1, 50) AS row GROUP BY row"
    with pytest.raises(subprocess.CalledProcessError):
        server.sql(f"INSERT INTO other SELECT string_agg(md5(part::text), '') FROM {rows}")  # noqa: S608 - a constant


async def test_a_read_only_postgresql_is_not_ready_until_it_can_be_written_again(
    telegram: Sandbox, postgres: Postgres, tmp_path: Path
) -> None:
    with postgres.database() as url:
        name = url.rpartition("/")[2]
        async with bridge_program(tmp_path, telegram, url) as client:
            _read_only(postgres, name, "on")
            assert await until(lambda: not_ready(client)) == {"database": "unhealthy"}

            async def refused() -> bool:
                answer = await post(client, 1)
                return answer.status_code == 503 and "read-only" in answer.json()["detail"]

            await until(refused)
            _read_only(postgres, name, "off")
            await until(lambda: is_ready(client))
            assert (await post(client, 2)).status_code == 202


def _read_only(postgres: Postgres, name: str, setting: str) -> None:
    postgres.sql(
        f"ALTER DATABASE {name} SET default_transaction_read_only = {setting}",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",  # noqa: S608 - our own name
    )
