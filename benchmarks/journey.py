"""Journey: which files and functions of services/ one event, one alert and one tap enter.

Starts the whole suite on SQLite in one process with a profile hook (benchmarks/recorded_suite.py), and the
Telegram sandbox in another. Each journey runs once as warm-up. Then the idle suite is recorded, and each
journey several times. A function counts if it runs in each repetition and does not run in the idle suite.
``--files`` lists the files in the order of first entry.

    python -m benchmarks.journey [--idle 20] [--repeats 3] [--files]
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection
from typing import Any

import httpx

from benchmarks.programs import ANY, KEY, Bench
from benchmarks.recorded_suite import Function
from tests import servers
from tests.alert_relay import payloads
from tests.ports import free_port
from tests.servers import Sandbox, until
from tests.stack.receivers import Receiver, listening

#: Not the sandbox's default token: with that, the suite starts a sandbox in its own process.
TOKEN = "1000000002:token-of-the-journey-in-the-sandbox"
CHAT = 1001
#: What follows the last visible effect (settle, counters, change feed) ends within this.
QUIET_SECONDS = 2.0
PORTS = ("BRIDGE_PORT", "MCP_HEALTH_PORT", "ALERT_RELAY_PORT", "MONITORING_SERVER_PORT")
#: The dashboard and mcp-health poll these. Their requests would hide the routing and authentication that an
#: event enters as well, so nothing listens there.
NEIGHBOURS = ("BRIDGE_URL", "MCP_HEALTH_URL", "ALERT_RELAY_URL", "DASHBOARD_URL")
NO_LISTENER = "http://127.0.0.1:9"


@dataclass
class Suite:
    """The recorded suite, and the programs around it."""

    bridge: httpx.AsyncClient
    alert_relay: httpx.AsyncClient
    sandbox: Sandbox
    callbacks: Receiver
    recorder: Connection

    async def start_record(self) -> None:
        """Waits for the end of earlier work, then starts an empty record."""
        await self.end_record()

    async def end_record(self) -> list[Function]:
        """Waits for the end of the work, then returns the functions in the order of first entry."""
        await asyncio.sleep(QUIET_SECONDS)
        self.recorder.send(None)
        entered: list[Function] = self.recorder.recv()
        return entered

    async def calls(self, name: str, first: int = 0) -> list[dict[str, Any]]:
        """The Bot API calls whose text contains the name, from this index of the sandbox's log."""
        entries = (await self.sandbox.log())[first:]
        return [entry for entry in entries if entry["kind"] == "call" and name in (entry["text"] or "")]

    async def delivered(self, name: str) -> int:
        """Waits until a message with this name is in the chat; returns Telegram's message id."""

        async def find() -> list[dict[str, Any]]:
            return [call for call in await self.calls(name) if call["delivered"]]

        return int((await until(find))[0]["message_id"])


async def event(suite: Suite, name: str) -> None:
    await suite.start_record()
    body = {"type": "task_completion", "title": name, "description": "All tests pass", "source": "ci"}
    (await suite.bridge.post("/events", json=body)).raise_for_status()
    await suite.delivered(name)


async def alert(suite: Suite, name: str) -> None:
    await suite.start_record()
    body = payloads.webhook(payloads.alert(name=name, starts_at=time.time()))
    (await suite.alert_relay.post("/webhook/alert", json=body)).raise_for_status()
    await suite.delivered(name)


async def tap(suite: Suite, name: str) -> None:
    question = {"title": name, "prompt": "make deploy", "callback_url": f"{suite.callbacks.url}/{name}"}
    (await suite.bridge.post("/api/v1/approvals", json=question)).raise_for_status()
    message_id = await suite.delivered(name)
    first = len(await suite.sandbox.log())
    await suite.start_record()
    await suite.sandbox.post(f"/chats/{CHAT}/messages/{message_id}/tap", {"text": "Approve"})

    async def is_answered() -> bool:
        toast = any(entry["kind"] == "toast" for entry in (await suite.sandbox.log())[first:])
        edited = any(call["method"] == "editMessageText" for call in await suite.calls(name, first))
        return toast and edited and bool(suite.callbacks.at(f"/{name}"))

    await until(is_answered)


#: The tap comes last. After it the long poll for updates begins anew (50 s), and does not end while idle.
JOURNEYS: Mapping[str, Callable[[Suite, str], Awaitable[None]]] = {
    "one event: POST /events → Telegram → settled": event,
    "one alert: Alertmanager's webhook → Telegram → settled": alert,
    "one tap on an approval → toast, edits, callback": tap,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=float, default=20.0, help="seconds that the idle suite is recorded")
    parser.add_argument("--repeats", type=int, default=3, help="records of each journey")
    parser.add_argument("--files", action="store_true", help="list the files of each journey")
    options = parser.parse_args()
    with Bench() as bench, listening() as callbacks:
        sandbox = bench.sandbox(core=ANY, TELEGRAM_BOT_TOKEN=TOKEN)
        found = asyncio.run(_record(bench, sandbox.url, callbacks, options))
    print("\n".join(table(found)))
    print(f"\nRecorded {options.repeats} times each, against {options.idle:g} s of the idle suite.")
    if options.files:
        for name, functions in found.items():
            print("\n".join(["", f"### {name}", "", *files(functions)]))


async def _record(
    bench: Bench, sandbox_url: str, callbacks: Receiver, options: argparse.Namespace
) -> dict[str, list[Function]]:
    """The functions of each journey, by its description."""
    async with _started(bench, sandbox_url, callbacks) as suite:
        for journey in JOURNEYS.values():
            await journey(suite, f"Warm-up-{journey.__name__}")
        await suite.start_record()
        await asyncio.sleep(options.idle)
        idle = await suite.end_record()
        found = {}
        for description, journey in JOURNEYS.items():
            records = []
            for number in range(options.repeats):
                await journey(suite, f"Journey-{journey.__name__}-{number}")
                records.append(await suite.end_record())
            found[description] = only_in(records, idle)
        return found


@asynccontextmanager
async def _started(bench: Bench, sandbox_url: str, callbacks: Receiver) -> AsyncIterator[Suite]:
    ports = {name: str(free_port()) for name in PORTS}
    bridge_url, alert_relay_url = (
        f"http://127.0.0.1:{ports[f'{name}_PORT']}" for name in ("BRIDGE", "ALERT_RELAY")
    )
    socket = str(bench.folder / "recorder")
    environment = {
        **bench.settings("suite"),
        **ports,
        **dict.fromkeys(NEIGHBOURS, NO_LISTENER),
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "TELEGRAM_API_URL": sandbox_url,
        "TELEGRAM_CHAT_IDS": str(CHAT),
        "WEBHOOK_ALLOW_PRIVATE": "true",
    }
    bench.start(["benchmarks.recorded_suite", socket], ANY, bridge_url, **environment)
    async with (
        servers.http(bridge_url, key=KEY) as bridge,
        servers.http(alert_relay_url, key=KEY) as alert_relay,
        Sandbox(sandbox_url) as sandbox,
    ):
        with Client(socket) as recorder:
            yield Suite(bridge, alert_relay, sandbox, callbacks, recorder)


def only_in(records: Sequence[Sequence[Function]], idle: Sequence[Function]) -> list[Function]:
    """The functions of all records that are not in the idle record, in the order of the first record."""
    everywhere = set(records[0]).intersection(*records[1:]) - set(idle)
    return [function for function in records[0] if function in everywhere]


def table(found: Mapping[str, list[Function]]) -> list[str]:
    """The journeys as a Markdown table, and what counts as a function."""
    lines = ["| | files | functions | by package |", "|---|---|---|---|"]
    for name, functions in found.items():
        entered = dict.fromkeys(file for file, _, _ in functions)
        packages = Counter(file.partition("/")[0] for file in entered).most_common()
        by_package = ", ".join(f"{package} {count}" for package, count in packages)
        lines.append(f"| {name} | {len(entered)} | {len(functions)} | {by_package} |")
    named = ", ".join(str(sum(not _is_inner(one) for one in functions)) for functions in found.values())
    return [*lines, "", f"Comprehensions and lambdas count as functions; without them: {named}."]


def _is_inner(function: Function) -> bool:
    return function[1].endswith(">")


def files(functions: Sequence[Function]) -> list[str]:
    """One line for each file, in the order of first entry, with the number of its functions."""
    counts = Counter(file for file, _, _ in functions)
    return [f"{number:3}  {file} ({count})" for number, (file, count) in enumerate(counts.items(), 1)]


if __name__ == "__main__":
    main()
