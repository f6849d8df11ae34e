"""The scenarios: each lets the client post messages and injects faults meanwhile."""

import asyncio
import math
import resource
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx

from benchmarks.prove import evidence, programs, reader
from benchmarks.prove.alerts import AlertClient
from benchmarks.prove.client import Client
from benchmarks.prove.evidence import Felt, Left
from benchmarks.prove.programs import KEY, Program
from benchmarks.prove.reader import Verdict
from benchmarks.prove.skewed_bridge import set_clock
from tests.servers import Postgres

FIRST_CHAT = 100_000
ALERT_CHAT = FIRST_CHAT - 1
#: Alerts that are posted beside the messages, as a share of them.
ALERT_SHARE = 0.05
#: Pause of each of the posters of alerts, so that the alerts spread over the kills.
ALERT_PAUSE_SECONDS = 0.7
DRAIN_SECONDS = 120.0
DISK_MEGABYTES = 24
SENDS = ["sendMessage", "sendDocument"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run.

    Args:
        rounds: of faults.
        messages: posted in all rounds together.
        seed: of all random choices.
        chats: number of recipients.
        bridge: module that is run as the bridge.
    """

    rounds: int
    messages: int
    seed: int
    chats: int = 300
    bridge: str = "services.bridge"


@dataclass
class World:
    """The running programs of one scenario, and the counts of its faults."""

    folder: Path
    plan: Plan
    random: Random
    sandbox: Program
    bridges: list[Program]
    client: Client
    control: httpx.AsyncClient
    alerts: AlertClient | None = None
    postgres: Postgres | None = None
    redis: Program | None = None
    clock: Path | None = None
    disk_is_mounted: bool = False
    troubles: dict[str, int] = field(default_factory=dict)

    def share(self, part: float = 1.0) -> None:
        """Allows a part of this round's messages, 0 to 1, to be posted."""
        self.client.allow(math.ceil(self.plan.messages / self.plan.rounds * part))

    def count(self, trouble: str) -> None:
        self.troubles[trouble] = self.troubles.get(trouble, 0) + 1

    @property
    def bridge(self) -> Program:
        return self.bridges[0]

    async def faults(self, *faults: dict[str, Any]) -> None:
        """Replaces the sandbox's faults."""
        (await self.control.delete("/faults")).raise_for_status()
        new = [{"methods": SENDS, "times": None} | fault for fault in faults]
        if new:
            (await self.control.post("/faults", json=new)).raise_for_status()


async def kills(world: World) -> None:
    """Kills the bridge (SIGKILL) at random moments, sometimes while it is still starting."""
    for _ in range(world.plan.rounds):
        world.share()
        if world.random.random() < 0.8:
            await world.bridge.ready()
            await asyncio.sleep(world.random.uniform(0.0, 1.0))
        else:
            await asyncio.sleep(world.random.uniform(0.1, 2.0))
        world.bridge.kill()
        world.count("kill -9")
        world.bridge.start()


#: Faults of Telegram or of the network. Each round has one; between the rounds Telegram works.
TELEGRAM_TROUBLES: dict[str, dict[str, Any]] = {
    "429 storm": {
        "kind": "answer",
        "status": 429,
        "description": "Too Many Requests: retry after 1",
        "parameters": {"retry_after": 1},
        "probability": 0.5,
    },
    "502 html": {
        "kind": "raw",
        "status": 502,
        "body": "<html><h1>502 Bad Gateway</h1></html>",
        "probability": 0.4,
    },
    "502 after delivery": {
        "kind": "raw",
        "status": 502,
        "body": "<html/>",
        "deliver": True,
        "probability": 0.3,
    },
    "resets": {"kind": "reset", "probability": 0.4},
    "hangs": {"kind": "hang", "seconds": 1.5, "probability": 0.2},
    "accept then drop": {"kind": "close", "deliver": True, "probability": 0.4},
    "slow": {"kind": "latency", "seconds": 0.1, "seconds_max": 1.0},
    "500": {"kind": "answer", "status": 500, "description": "Internal Server Error", "probability": 0.5},
}


async def telegram(world: World) -> None:
    """Makes Telegram fail: 429 storms, 502 with HTML, resets, hangs, accept-then-drop."""
    names = list(TELEGRAM_TROUBLES)
    world.random.shuffle(names)
    for number in range(world.plan.rounds):
        name = names[number % len(names)]
        await world.faults(TELEGRAM_TROUBLES[name])
        world.share()
        await asyncio.sleep(world.random.uniform(1.5, 3.0))
        world.count(name)
        await world.faults()
        await asyncio.sleep(0.5)


async def postgres(world: World) -> None:
    """Stops PostgreSQL, alternately fast and immediate, and starts it again."""
    assert world.postgres is not None  # noqa: S101 - the scenario needs it
    for number in range(world.plan.rounds):
        world.share(0.5)
        await asyncio.sleep(world.random.uniform(0.0, 0.5))
        kind = (signal.SIGINT, signal.SIGQUIT)[number % 2]
        restart = programs.restart(world.postgres, kind, world.random.uniform(0.0, 2.0))
        restarting = asyncio.create_task(restart)
        # Post during the outage: otherwise only deliveries would meet it.
        world.share(0.5)
        await restarting
        world.count("fast restart" if kind is signal.SIGINT else "immediate restart")
        await asyncio.sleep(world.random.uniform(0.0, 1.0))


async def redis(world: World) -> None:
    """Kills Redis and starts it again, empty."""
    assert world.redis is not None  # noqa: S101 - the scenario needs it
    for _ in range(world.plan.rounds):
        world.share()
        await asyncio.sleep(world.random.uniform(0.2, 1.5))
        world.redis.kill()
        world.count("redis killed")
        await asyncio.sleep(world.random.uniform(0.2, 2.0))
        world.redis.start()


async def disk(world: World) -> None:
    """Fills the disk of the database for some seconds."""
    for _ in range(world.plan.rounds):
        world.share(0.5)
        await asyncio.sleep(world.random.uniform(0.1, 0.6))
        await _fill(world)
        world.share(0.5)
        await asyncio.sleep(world.random.uniform(2.0, 4.0))
        _free(world)
        await asyncio.sleep(0.5)


async def _fill(world: World) -> None:
    if world.disk_is_mounted:
        world.count("disk full")
        with (world.folder / "data" / "ballast").open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                return
    world.count("file size limit")
    largest = max(path.stat().st_size for path in (world.folder / "data").rglob("*") if path.is_file())
    resource.prlimit(world.bridge.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))


def _free(world: World) -> None:
    if world.disk_is_mounted:
        (world.folder / "data" / "ballast").unlink()
    else:
        no_limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(world.bridge.pid, resource.RLIMIT_FSIZE, no_limit)


async def clock(world: World) -> None:
    """Sets the bridge's wall clock forward and back, and sometimes kills the bridge.

    Telegram refuses some calls meanwhile, so that messages wait for a retry when the clock jumps.
    """
    assert world.clock is not None  # noqa: S101 - the scenario needs it
    await world.faults(TELEGRAM_TROUBLES["429 storm"] | {"probability": 0.1}, TELEGRAM_TROUBLES["500"])
    for _ in range(world.plan.rounds):
        world.share()
        await asyncio.sleep(world.random.uniform(0.3, 1.5))
        jump = world.random.choice((-86_400, -3_600, -30, 30, 600, 3_600))
        set_clock(world.clock, jump)
        world.count(f"clock {jump:+} s")
        if world.random.random() < 0.3:
            world.bridge.kill()
            world.count("kill -9")
            world.bridge.start()
    # With a wrong clock, messages might wait longer than the drain.
    set_clock(world.clock, 0)


async def replicas(world: World) -> None:
    """Kills one of three bridges on one database, at random."""
    for _ in range(world.plan.rounds):
        world.share()
        await asyncio.sleep(world.random.uniform(0.3, 2.0))
        one = world.random.choice(world.bridges)
        one.kill()
        world.count("kill -9")
        await asyncio.sleep(world.random.uniform(0.0, 1.0))
        one.start()


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario, and its default size.

    Args:
        trouble: injects faults while messages are posted.
        stores: that it runs on.
        share: of the proof's messages that it posts, 0 to 1.
        rounds: of faults.
        felt: counts the effects of the faults.
        bridges: number of bridges on the database.
        needs: ``redis``, ``disk``, ``clock``, ``suite`` (all services, and alerts) or nothing.
    """

    trouble: Callable[[World], Awaitable[None]]
    stores: tuple[str, ...]
    share: float
    rounds: int
    felt: Felt
    bridges: int = 1
    needs: str = ""


SCENARIOS: dict[str, Scenario] = {
    "kills": Scenario(kills, ("sqlite", "postgresql"), 1.0, 50, evidence.killed),
    "telegram": Scenario(telegram, ("sqlite", "postgresql"), 0.2, 8, evidence.telegram_failed),
    "postgres": Scenario(postgres, ("postgresql",), 0.2, 6, evidence.store_was_away),
    "redis": Scenario(
        redis, ("sqlite", "postgresql"), 0.1, 4, evidence.rate_limit_was_not_shared, needs="redis"
    ),
    "disk": Scenario(disk, ("sqlite",), 0.2, 5, evidence.store_was_away, needs="disk"),
    "clock": Scenario(clock, ("sqlite", "postgresql"), 0.1, 8, evidence.clock_was_wrong, needs="clock"),
    "suite": Scenario(kills, ("sqlite", "postgresql"), 0.3, 15, evidence.killed, needs="suite"),
    "replicas": Scenario(replicas, ("postgresql",), 0.2, 6, evidence.killed, bridges=3),
}


@dataclass(frozen=True, slots=True)
class Ran:
    """The result of a scenario.

    Args:
        name: of the scenario.
        store: ``sqlite`` or ``postgresql``.
        verdict: counts of the reader.
        troubles: number of faults by kind.
        felt: number of effects of the faults.
        kills: of running bridges.
        seconds: from the start until the queue was empty.
    """

    name: str
    store: str
    verdict: Verdict
    troubles: dict[str, int]
    felt: int
    kills: int
    seconds: float
    #: Counts of the alerts, where the scenario posts any.
    alerts: Verdict | None = None

    @property
    def broken(self) -> dict[str, int]:
        """The broken invariants, and what makes the run worthless as a proof."""
        v = self.verdict
        hollow = {} if v.posted and 2 * v.delivered > v.posted else {"not delivered": v.posted - v.delivered}
        alerts = (
            {f"alerts {name}": number for name, number in self.alerts.broken.items()} if self.alerts else {}
        )
        return (
            v.broken
            | alerts
            | hollow
            | ({} if self.felt else {"troubles not felt": sum(self.troubles.values())})
        )


async def run(name: str, store: str, plan: Plan, folder: Path) -> Ran:
    """Runs one scenario and checks its invariants.

    Args:
        name: key of :data:`SCENARIOS`.
        store: ``sqlite`` or ``postgresql``.
        plan: its size.
        folder: a new one, for all files of the programs.
    """
    start = time.monotonic()
    async with _world(SCENARIOS[name], store, plan, folder) as world:
        posting = asyncio.create_task(_post(world))
        try:
            await SCENARIOS[name].trouble(world)
            await world.faults()
            world.client.allow(plan.messages)
            for one in world.bridges:
                await one.ready()
            await posting
        finally:
            posting.cancel()
        await _drained(world)
        seconds = time.monotonic() - start
        killed = [at for one in world.bridges for at in one.kills]
        with reader.Api(world.bridge.ready_url, KEY) as api:
            log = folder / "telegram.jsonl"
            verdict = await asyncio.to_thread(reader.judge, world.client.record, log, api, killed)
            left = Left(folder, api.all(), killed)
            alerts = world.alerts.judge(log, world.alerts.incidents(), killed) if world.alerts else None
        felt = SCENARIOS[name].felt(left)
        return Ran(name, store, verdict, world.troubles, felt, len(killed), seconds, alerts)


async def _post(world: World) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(world.client.run())
        if world.alerts:
            group.create_task(world.alerts.run(seconds_between=ALERT_PAUSE_SECONDS))


@asynccontextmanager
async def _world(scenario: Scenario, store: str, plan: Plan, folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        folder.mkdir(parents=True)
        mounted = False
        if scenario.needs == "disk":
            mounted = stack.enter_context(programs.small_disk(folder / "data", DISK_MEGABYTES))
        environment: dict[str, str] = {}
        server = stack.enter_context(programs.durable_postgres()) if store == "postgresql" else None
        if server is not None:
            server.sql("CREATE DATABASE proof")
            environment["DATABASE_URL"] = server.url("proof")
        redis_server = programs.redis(folder) if scenario.needs == "redis" else None
        if redis_server is not None:
            # Only with a rate limit do bridges share it through Redis.
            environment |= {**redis_server.environment, "TELEGRAM_BOT_PER_SECOND": "300"}
            redis_server.start()
            stack.callback(redis_server.kill)
        sandbox = programs.sandbox(folder)
        sandbox.start()
        stack.callback(sandbox.stop)
        await sandbox.ready()
        names = [f"bridge-{number}" for number in range(scenario.bridges)]
        clock_file = folder / "clock" if scenario.needs == "clock" else None
        module = plan.bridge
        if clock_file is not None:
            set_clock(clock_file, 0)
            environment["PROOF_CLOCK"] = str(clock_file)
            module = "benchmarks.prove.skewed_bridge"
        if scenario.needs == "suite":
            suite, relay_url = programs.suite(folder, sandbox.ready_url, ALERT_CHAT, environment)
            bridges, alerts = [suite], AlertClient(relay_url, KEY, math.ceil(plan.messages * ALERT_SHARE))
        else:
            bridges = [
                programs.bridge(folder, name, sandbox.ready_url, module, environment) for name in names
            ]
            alerts = None
        for one in bridges:
            one.start()
            stack.callback(one.stop)
            await one.ready()
        random = Random(f"{plan.seed} {scenario.trouble.__name__} {store}")  # noqa: S311 - repeatable
        control = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"{sandbox.ready_url}/control", timeout=30)
        )
        chats = {"first_id": ALERT_CHAT, "count": 1 + plan.chats}
        (await control.post("/chats/range", json=chats)).raise_for_status()
        (await control.put("/faults/seed", json={"seed": plan.seed})).raise_for_status()
        client = Client(
            [one.ready_url for one in bridges],
            KEY,
            folder / "client.jsonl",
            list(range(FIRST_CHAT, FIRST_CHAT + plan.chats)),
            plan.messages,
            random,
        )
        yield World(
            folder,
            plan,
            random,
            sandbox,
            bridges,
            client,
            control,
            alerts=alerts,
            postgres=server,
            redis=redis_server,
            clock=clock_file,
            disk_is_mounted=mounted,
        )


async def _drained(world: World) -> None:
    """Waits until the queue is empty; messages still there after DRAIN_SECONDS count as lost."""
    waiting = [("status", state) for state in ("queued", "sending", "retry_wait")]
    headers = {"Authorization": f"Bearer {KEY}"}
    deadline = time.monotonic() + DRAIN_SECONDS
    async with httpx.AsyncClient(base_url=world.bridge.ready_url, headers=headers, timeout=30) as client:
        while time.monotonic() < deadline:
            page = await client.get("/api/v1/messages", params=[*waiting, ("limit", "1")])
            empty = page.status_code == 200 and not page.json()["items"]
            if empty and not (world.alerts and world.alerts.missing(world.folder / "telegram.jsonl")):
                return
            await asyncio.sleep(0.2)
