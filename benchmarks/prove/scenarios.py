"""What goes wrong, and when. A scenario lets messages be posted and breaks things meanwhile."""

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
from benchmarks.prove.client import Client
from benchmarks.prove.evidence import Felt, Left
from benchmarks.prove.programs import KEY, Program
from benchmarks.prove.reader import Verdict
from benchmarks.prove.skewed_bridge import set_clock
from tests.servers import Postgres

FIRST_CHAT = 100_000
DRAIN_SECONDS = 120.0
DISK_MEGABYTES = 24
SENDS = ["sendMessage", "sendDocument"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much: rounds of trouble, messages over them, chats that get them; and the bridge, as a module."""

    rounds: int
    messages: int
    seed: int
    chats: int = 300
    bridge: str = "services.bridge"


@dataclass
class World:
    """Everything that runs in one scenario."""

    folder: Path
    plan: Plan
    random: Random
    sandbox: Program
    bridges: list[Program]
    client: Client
    control: httpx.AsyncClient
    postgres: Postgres | None = None
    redis: Program | None = None
    clock: Path | None = None
    disk_is_mounted: bool = False
    troubles: dict[str, int] = field(default_factory=dict)

    def share(self, part: float = 1.0) -> None:
        """Lets this round's messages be posted, or a part of them."""
        self.client.allow(math.ceil(self.plan.messages / self.plan.rounds * part))

    def count(self, trouble: str) -> None:
        self.troubles[trouble] = self.troubles.get(trouble, 0) + 1

    @property
    def bridge(self) -> Program:
        return self.bridges[0]

    async def faults(self, *faults: dict[str, Any]) -> None:
        """Replaces the sandbox's faults."""
        (await self.control.delete("/faults")).raise_for_status()
        wanted = [{"methods": SENDS, "times": None} | fault for fault in faults]
        if wanted:
            (await self.control.post("/faults", json=wanted)).raise_for_status()


async def kills(world: World) -> None:
    """Kill -9 at random moments, some of them while the bridge is still starting."""
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


#: What Telegram, or the way there, does; each round is one of them, the rest of the time it works.
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
    """429 storms, 502 with HTML, resets, hangs, accept-then-drop."""
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
    """PostgreSQL stopped (by turns fast and immediate) and started again."""
    assert world.postgres is not None  # noqa: S101 - the scenario's own needs
    for number in range(world.plan.rounds):
        world.share(0.5)
        await asyncio.sleep(world.random.uniform(0.0, 0.5))
        kind = (signal.SIGINT, signal.SIGQUIT)[number % 2]
        restart = programs.restart(world.postgres, kind, world.random.uniform(0.0, 2.0))
        restarting = asyncio.create_task(restart)
        # Into the outage: where it is over before a client posts, only deliveries meet it.
        world.share(0.5)
        await restarting
        world.count("fast restart" if kind is signal.SIGINT else "immediate restart")
        await asyncio.sleep(world.random.uniform(0.0, 1.0))


async def redis(world: World) -> None:
    """Redis killed and started again, empty."""
    assert world.redis is not None  # noqa: S101 - the scenario's own needs
    for _ in range(world.plan.rounds):
        world.share()
        await asyncio.sleep(world.random.uniform(0.2, 1.5))
        world.redis.kill()
        world.count("redis killed")
        await asyncio.sleep(world.random.uniform(0.2, 2.0))
        world.redis.start()


async def disk(world: World) -> None:
    """The disk under the database is full for a while."""
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
    """The wall clock jumps, forward and back; now and then the bridge is killed as well.

    Telegram refuses some meanwhile, so that something waits for a time when the clock jumps.
    """
    assert world.clock is not None  # noqa: S101 - the scenario's own needs
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
    # Whatever it was, in the end somebody sets the clock right.
    set_clock(world.clock, 0)


async def replicas(world: World) -> None:
    """Three bridges on one database; one of them is killed at random."""
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
    """What a scenario needs, and how large it is by default.

    Args:
        trouble: breaks things while messages are posted.
        stores: on which it makes sense.
        share: of the messages of the whole proof.
        rounds: of trouble.
        bridges: how many share the database.
        felt: how often it was, by the word of those whom it hit.
        needs: ``redis``, ``disk`` or ``clock``.
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
    "replicas": Scenario(replicas, ("postgresql",), 0.2, 6, evidence.killed, bridges=3),
}


@dataclass(frozen=True, slots=True)
class Ran:
    """A scenario that was run.

    Args:
        verdict: what the reader found.
        troubles: what was done, and how often.
        felt: how often it was felt.
        kills: bridges killed.
    """

    name: str
    store: str
    verdict: Verdict
    troubles: dict[str, int]
    felt: int
    kills: int
    seconds: float

    @property
    def broken(self) -> dict[str, int]:
        """The invariants that did not hold, and whether the run proves anything at all."""
        v = self.verdict
        hollow = {} if v.posted and 2 * v.delivered > v.posted else {"not delivered": v.posted - v.delivered}
        return v.broken | hollow | ({} if self.felt else {"troubles not felt": sum(self.troubles.values())})


async def run(name: str, store: str, plan: Plan, folder: Path) -> Ran:
    """Runs one scenario and has the reader judge it.

    Args:
        name: key of :data:`SCENARIOS`.
        store: ``sqlite`` or ``postgresql``.
        plan: how much.
        folder: of its own; everything that the programs write.
    """
    start = time.monotonic()
    async with _world(SCENARIOS[name], store, plan, folder) as world:
        posting = asyncio.create_task(world.client.run())
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
        felt = SCENARIOS[name].felt(left)
        return Ran(name, store, verdict, world.troubles, felt, len(killed), seconds)


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
            # Without a rate there is nothing to share.
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
        bridges = [programs.bridge(folder, name, sandbox.ready_url, module, environment) for name in names]
        for one in bridges:
            one.start()
            stack.callback(one.stop)
            await one.ready()
        random = Random(f"{plan.seed} {scenario.trouble.__name__} {store}")  # noqa: S311 - repeatable
        control = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"{sandbox.ready_url}/control", timeout=30)
        )
        chats = {"first_id": FIRST_CHAT, "count": plan.chats}
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
            postgres=server,
            redis=redis_server,
            clock=clock_file,
            disk_is_mounted=mounted,
        )


async def _drained(world: World) -> None:
    """Until no message waits; those that still do after the patience count as lost."""
    waiting = [("status", state) for state in ("queued", "sending", "retry_wait")]
    headers = {"Authorization": f"Bearer {KEY}"}
    deadline = time.monotonic() + DRAIN_SECONDS
    async with httpx.AsyncClient(base_url=world.bridge.ready_url, headers=headers, timeout=30) as client:
        while time.monotonic() < deadline:
            page = await client.get("/api/v1/messages", params=[*waiting, ("limit", "1")])
            if page.status_code == 200 and not page.json()["items"]:
                return
            await asyncio.sleep(0.2)
