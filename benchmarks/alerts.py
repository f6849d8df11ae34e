"""Alerts: how long a webhook takes to Telegram's server, and what a storm of alerts does.

- One alert a second: from before the POST to the time of the call in the sandbox.
- A storm: webhooks of 50 alerts each, every alert an incident of its own, posted 32 at once; a refused one
  again after 0.5 s. In the middle of it one critical alert fires.

    python -m benchmarks.alerts [--alerts 10000] [--seconds 60]
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson
import uvloop

from benchmarks import machine
from benchmarks.latency import quantile
from benchmarks.programs import KEY, Bench, Program, on_core
from services.kit.clock import rfc3339
from tests.ports import free_port

IN_WEBHOOK = 50
AT_ONCE = 32
CRITICAL = "TheCriticalOne"
CHAT = 1001


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    with Bench() as bench:
        sandbox = bench.sandbox()
        relay = _relay(bench, sandbox.url)
        with on_core(bench.other):
            took = uvloop.run(_one_a_second(relay, sandbox, options.seconds))
            before = relay.memory_bytes()
            storm = uvloop.run(_storm(relay, sandbox, options.alerts // IN_WEBHOOK))
        p50, p99 = (f"{1e3 * quantile(took, share):.1f} ms" for share in (0.5, 0.99))
        grown = (relay.memory_bytes() - before) / 2**20
        rows = (
            ("webhook to Telegram's server, one alert a second: p50, p99", f"{p50}, {p99}", ""),
            (f"{options.alerts:,} alerts at once: all stored after", f"{storm['stored']:.1f} s", ""),
            ("webhooks refused with 503, and posted again", f"{storm['refused']:.0f}", ""),
            ("the critical one at Telegram's server after", f"{storm['critical']:.2f} s", "< 1 s"),
            ("messages sent, edits", f"{storm['messages']:.0f}, {storm['edits']:.0f}", ""),
            ("memory, growth", f"{relay.memory_bytes() / 2**20:.0f} MB, {grown:+.0f} MB", ""),
        )
        print("\n### Alerts\n\n| what | measured | goal |\n|---|---|---|")
        print("\n".join(f"| {' | '.join(row)} |" for row in rows))
        print(f"\nMachine: {machine.facts()}.")


def _relay(bench: Bench, sandbox_url: str) -> Program:
    port = free_port()
    settings = {
        **bench.settings("relay"),
        "ALERT_RELAY_PORT": str(port),
        "TELEGRAM_API_URL": sandbox_url,
        "TELEGRAM_CHAT_IDS": str(CHAT),
        "TELEGRAM_CHAT_PER_SECOND": "1",
        "WATCHDOG_MAX_AGE_SECONDS": "0",
    }
    return bench.start(["services.alert_relay"], bench.measured, f"http://127.0.0.1:{port}", **settings)


def _webhook(names: Sequence[str], severity: str) -> bytes:
    now = rfc3339(time.time())
    alerts = [
        {
            "status": "firing",
            "labels": {"alertname": name, "severity": severity, "instance": "a"},
            "annotations": {"summary": f"{name} of the benchmark"},
            "startsAt": now,
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "",
            "fingerprint": f"{hash(name) % 2**64:016x}",
        }
        for name in names
    ]
    return orjson.dumps(
        {
            "version": "4",
            "groupKey": names[0],
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "relay",
            "groupLabels": {},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://alertmanager.example:9093",
            "alerts": alerts,
        }
    )


async def _post(session: aiohttp.ClientSession, relay: Program, body: bytes) -> int:
    """Posts until the webhook is stored; returns how often it was refused."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    refused = 0
    while True:
        async with session.post(f"{relay.url}/webhook/alert", data=body, headers=headers) as response:
            if response.status == 200:
                return refused
        refused += 1
        await asyncio.sleep(0.5)


async def _one_a_second(relay: Program, sandbox: Program, seconds: int) -> list[float]:
    async with aiohttp.ClientSession() as session:
        posted = {}
        start = time.perf_counter()
        for number in range(seconds):
            await asyncio.sleep(max(0.0, start + number - time.perf_counter()))
            name = f"Single{number}"
            posted[name] = time.time()
            await _post(session, relay, _webhook([name], "critical"))
        found: dict[str, float] = {}
        while len(found) < len(posted):
            found = {}
            for entry in await _log(session, sandbox):
                name = _named(entry)
                if name in posted:
                    found.setdefault(name, entry["time"])
        return [found[name] - at for name, at in posted.items()]


async def _storm(relay: Program, sandbox: Program, webhooks: int) -> dict[str, float]:
    bodies = [
        _webhook([f"Storm{number}x{each}" for each in range(IN_WEBHOOK)], "warning")
        for number in range(webhooks)
    ]
    limit = asyncio.Semaphore(AT_ONCE)
    critical: list[float] = []

    async with aiohttp.ClientSession() as session:
        earlier = len(await _log(session, sandbox))

        async def one(body: bytes, *, is_critical: bool = False) -> int:
            async with limit:
                if is_critical:
                    critical.append(time.time())
                return await _post(session, relay, body)

        began = time.time()
        posts = [one(body) for body in bodies]
        posts.insert(webhooks // 2, one(_webhook([CRITICAL], "critical"), is_critical=True))
        refused = sum(await asyncio.gather(*posts))
        stored = time.time() - began
        while True:
            log = (await _log(session, sandbox))[earlier:]
            arrived = [entry["time"] for entry in log if _named(entry) == CRITICAL]
            if arrived:
                break
        # What waits for the chat's rate is edited together.
        await asyncio.sleep(10)
        log = (await _log(session, sandbox))[earlier:]
    methods = [entry["method"] for entry in log if entry["kind"] == "call"]
    return {
        "stored": stored,
        "refused": refused,
        "critical": arrived[0] - critical[0],
        "messages": methods.count("sendMessage"),
        "edits": methods.count("editMessageText"),
    }


async def _log(session: aiohttp.ClientSession, sandbox: Program) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    cursor = "0"
    while True:
        parameters = {"cursor": cursor, "limit": "10000"}
        async with session.get(f"{sandbox.url}/control/log", params=parameters) as page:
            page.raise_for_status()
            lines = (await page.read()).splitlines()
            cursor = page.headers["X-Next-Cursor"]
        if not lines:
            return entries
        entries += map(orjson.loads, lines)


def _named(entry: dict[str, Any]) -> str:
    """The name of the alert that a call is about."""
    if entry["kind"] != "call":
        return ""
    return str(entry.get("text") or "").partition("\n")[0].removeprefix("🔥 ").partition(" (")[0]


if __name__ == "__main__":
    main()
