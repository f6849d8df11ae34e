"""A bulk replay whose process is killed in its midst: it goes on, and replays none twice."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
from sqlalchemy import Connection, func, select

from services.kit.database.connect import Database, open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.delivery import claims, retry_policy, settlement
from services.outbox.delivery.retry_policy import Policy
from services.outbox.intake import enqueue
from services.outbox.messages import Outcome, Reason, Settled
from services.outbox.rate_limit.limits import Limits
from services.outbox.schema import change, message
from tests.outbox import making
from tests.ports import free_port
from tests.servers import KEY, Sandbox, until

ROOT = Path(__file__).parents[3]
CHATS, EACH = 500, 8
LETTERS = CHATS * EACH
PACKAGES = ["services.outbox"]


async def fill(database: Database) -> None:
    """Thousands of dead letters, as the engine writes them."""
    posted = [making.each([f"t{n}" for n in range(EACH)], 5_000 + chat) for chat in range(CHATS)]
    await database.write("enqueue", partial(enqueue.insert, submissions=posted, now=making.NOW))
    for _ in range(EACH):
        await database.write("claim", _give_up_one_of_each)


def _give_up_one_of_each(connection: Connection) -> None:
    batch = claims.claim(connection, "default", "w1", CHATS, now=making.NOW)
    bad = making.result(Outcome.NOT_SENT, Reason.BAD_REQUEST)
    settled = [Settled(m, bad, retry_policy.decide(Policy(), m, bad, 1, 0.5)) for m in batch.messages]
    settlement.settle(connection, "w1", settled, Limits(0, 0, 1, 0), making.NOW)


def start(log: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "services.bridge"], cwd=ROOT, env=environment, stdout=output, stderr=output
        )


@asynccontextmanager
async def bridge_process(
    url: str, folder: Path, sandbox: Sandbox
) -> AsyncIterator[tuple["subprocess.Popen[bytes]", httpx.AsyncClient]]:
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "BRIDGE_PORT": str(port),
        "DATA_DIR": str(folder),
        "DATABASE_URL": url,
        "API_KEY": KEY,
        "TELEGRAM_API_URL": sandbox.url,
        "TELEGRAM_BOT_PER_SECOND": "0",
        "TELEGRAM_CHAT_PER_SECOND": "0",
        "RATE_LIMIT_PER_SECOND": "0",
        "RETENTION_DAYS": "0",
    }
    process = start(folder / "log", environment)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:

        async def answers() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                return (await client.get("/health/live")).status_code == 200
            except httpx.TransportError:
                return False

        await until(answers)
        try:
            yield process, client
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                # Not in this loop: the sandbox runs in it, and answers the calls that are under way.
                await asyncio.to_thread(process.wait, 30)


async def test_a_job_that_is_killed_goes_on_and_replays_each_message_once(
    database_url: str, telemetry: Telemetry, tmp_path: Path, sandbox: Sandbox
) -> None:
    # Every send is refused: what is replayed twice would be seen as two replays of one message.
    await sandbox.faults(
        {"kind": "answer", "status": 400, "description": "Bad Request: message is too long", "times": None}
    )
    database = await open_database(database_url, telemetry, packages=PACKAGES)
    await fill(database)
    await database.close()
    async with bridge_process(database_url, tmp_path, sandbox) as (process, client):
        answer = await client.post("/api/v1/dead-letters/replay", json={"why": "proof"})
        job_id = answer.json()["id"]
        assert answer.json()["progress"]["total"] == LETTERS

        async def under_way() -> int:
            progress = (await client.get(f"/api/v1/jobs/{job_id}")).json()["progress"]
            return int(progress["passed"])

        await until(under_way)
        process.kill()
        process.wait(30)
    async with bridge_process(database_url, tmp_path, sandbox) as (_, client):
        job = (await client.get(f"/api/v1/jobs/{job_id}")).json()
        assert job["status"] == "running"
        assert 0 < job["progress"]["passed"] < LETTERS

        async def done() -> bool:
            return bool((await client.get(f"/api/v1/jobs/{job_id}")).json()["status"] == "done")

        await until(done, patience=60)
        job = (await client.get(f"/api/v1/jobs/{job_id}")).json()
        assert job["progress"] == {"total": LETTERS, "passed": LETTERS, "replayed": LETTERS}
    database = await open_database(database_url, Telemetry("again", ServiceSettings()), packages=PACKAGES)
    replays = await database.read("read", _replays)
    await database.close()
    assert replays == {1: LETTERS}


def _replays(connection: Connection) -> dict[int, int]:
    """How many messages were replayed so often."""
    each = (
        select(message.c.id, func.count(change.c.id).label("times"))
        .select_from(message)
        .outerjoin(change, change.c.message_seq == message.c.seq)
        .where(change.c.cause.like("replayed%"))
        .group_by(message.c.id)
        .subquery()
    )
    rows = connection.execute(select(each.c.times, func.count()).group_by(each.c.times))
    return {row[0]: row[1] for row in rows}
