"""Alerts through a real Alertmanager, or a pair, to a Telegram that misbehaves, past a relay that is killed.

Each run fires alerts with names of their own, sets a fault of Telegram's server, kills alert-relay with
``kill -9`` at random moments, and resolves every alert. Then each alert must have one incident, which is
resolved, and must be in the chat, or a dead letter that went by mail, which needs no Telegram.

    python -m benchmarks.prove_alerts [--alerts 20] [--kills 4] [--seed 1] [--fault 429]
"""

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.prove import programs, reader
from benchmarks.prove.programs import SUITE_TOKEN, Program
from services.kit.clock import rfc3339
from tests.alert_relay import servers
from tests.alert_relay.senders.loopback import MailServer, mail_server
from tests.ports import free_port
from tests.servers import KEY, http

CHAT, UPGRADED = -4_001, -1_000_000_004_001
ONE, PAIR = "one", "pair"
#: Seconds within which all alerts must have arrived or be dead letters that went by mail.
PATIENCE = 120.0
#: Seconds that all alerts fire while alert-relay is up: several of Alertmanager's group intervals.
FIRING_SECONDS = 8.0
_ALERT = re.compile(r"\bProofAlert(\d+)\b")


def answer(status: int, description: str, **parameters: Any) -> dict[str, Any]:
    return {"kind": "answer", "status": status, "description": description, "parameters": parameters or None}


#: What Telegram's server does, by name; half of the calls, unless all are meant.
FAULTS: Mapping[str, dict[str, Any] | None] = {
    "answers": None,
    "429": answer(429, "Too Many Requests: retry after 1", retry_after=1) | {"probability": 0.5},
    "502": {"kind": "raw", "status": 502, "body": "<html>502</html>", "probability": 0.5},
    "reset": {"kind": "reset", "probability": 0.5},
    "timeouts": {"kind": "hang", "seconds": 2.0, "probability": 0.3},
    "accepts, then drops": {"kind": "close", "deliver": True, "probability": 0.3},
    "400 always": answer(400, "Bad Request: chat not found"),
    "403 always": answer(403, "Forbidden: bot was kicked from the group chat"),
    "migrates": None,
}
COLUMNS = (
    *("Alertmanager", "Telegram", "alerts", "incidents", "twice", "in the chat", "further"),
    *("by mail instead", "lost", "kills", "seconds"),
)


@dataclass
class Outcome:
    """What became of the alerts of one run.

    Args:
        alertmanagers: ``one`` or ``pair``.
        fault: of Telegram's server.
        alerts: numbers of the alerts that were fired.
        incidents: the number of incidents of each alert.
        resolved: the number of resolved incidents.
        in_chat: how often each alert was reported there, without its end.
        by_mail: alerts that a mail reports.
        kills: of alert-relay.
        seconds: that the run took.
    """

    alertmanagers: str
    fault: str
    alerts: frozenset[int]
    incidents: Counter[int] = field(default_factory=Counter)
    resolved: int = 0
    in_chat: Counter[int] = field(default_factory=Counter)
    by_mail: frozenset[int] = frozenset()
    kills: int = 0
    seconds: float = 0.0

    @property
    def twice(self) -> int:
        return sum(number - 1 for number in self.incidents.values() if number > 1)

    @property
    def lost(self) -> frozenset[int]:
        return self.alerts - self.in_chat.keys() - self.by_mail

    @property
    def complete(self) -> bool:
        """Whether every alert has one resolved incident, and reached a person."""
        return not self.lost and self.incidents.keys() == self.alerts and self.resolved == len(self.alerts)

    @property
    def holds(self) -> bool:
        return self.complete and not self.twice

    def row(self) -> str:
        further = sum(number - 1 for number in self.in_chat.values())
        cells = (
            *(self.alertmanagers, self.fault, len(self.alerts), len(self.incidents), self.twice),
            *(len(self.in_chat), further, len(self.by_mail - self.in_chat.keys()), len(self.lost)),
            *(self.kills, round(self.seconds)),
        )
        return f"| {' | '.join(map(str, cells))} |"


def main() -> int:
    """Prints the table; returns 1 if an alert was lost, or has two incidents."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prove_alerts", description=__doc__)
    parser.add_argument("--alerts", type=int, default=20)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", action="append", choices=list(FAULTS), help="only this one; repeatable")
    options = parser.parse_args()
    outcomes = []
    for alertmanagers in (ONE, PAIR):
        for fault in options.fault or FAULTS:
            print(f"{alertmanagers}, Telegram {fault} …", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="cctelegram-alerts-") as folder:
                run = Run(Path(folder), alertmanagers, fault, random.Random(options.seed))  # noqa: S311 - no secret
                outcomes.append(asyncio.run(run.outcome(options.alerts, options.kills)))
            print(outcomes[-1].row(), file=sys.stderr, flush=True)
    print("\n".join(table(outcomes)))
    return 0 if all(each.holds for each in outcomes) else 1


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|---|---|{'---:|' * (len(COLUMNS) - 2)}"
    for each in outcomes:
        yield each.row()


class Run:
    """One run: its programs, and what it sees of them."""

    def __init__(self, folder: Path, alertmanagers: str, fault: str, chance: random.Random) -> None:
        self._folder = folder
        self._alertmanagers = alertmanagers
        self._fault = fault
        self._chance = chance
        self._ports = [free_port() for _ in range(1 if alertmanagers == ONE else 2)]

    async def outcome(self, alerts: int, kills: int) -> Outcome:
        """Fires the alerts and resolves them while alert-relay is killed; returns what became of them."""
        started = time.monotonic()
        async with AsyncExitStack() as stack:
            sandbox = programs.sandbox(self._folder)
            sandbox.start()
            stack.callback(sandbox.kill)
            await sandbox.ready()
            control = await stack.enter_async_context(http(sandbox.ready_url))
            await self._break(control)
            mails = await stack.enter_async_context(mail_server())
            relay = self._relay(sandbox.ready_url, mails.port)
            relay.start()
            stack.callback(relay.kill)
            await relay.ready()
            peers = [
                await stack.enter_async_context(each) for each in self._started_alertmanagers(relay.ready_url)
            ]
            api = await stack.enter_async_context(http(relay.ready_url, key=KEY))
            names = list(range(alerts))
            await asyncio.gather(self._fire(peers, names, control), self._kill(relay, kills // 2))
            # An alert that begins and ends while alert-relay is away was never accepted: Alertmanager sends
            # nothing of it afterwards.
            await asyncio.sleep(FIRING_SECONDS)
            await asyncio.gather(self._resolve(peers, names), self._kill(relay, kills - kills // 2))
            if self._recovers:
                await control.delete("/control/faults")
            found = await self._wait(frozenset(names), api, mails)
            found.kills, found.seconds = len(relay.kills), time.monotonic() - started
            return found

    @property
    def _recovers(self) -> bool:
        """Whether Telegram answers again at the end; a refusal stays."""
        return "always" not in self._fault

    async def _break(self, control: httpx.AsyncClient) -> None:
        chat = {"id": CHAT, "type": "group", "title": "On call"}
        (await control.post("/control/chats", json=chat)).raise_for_status()
        fault = FAULTS[self._fault]
        if fault is not None:
            of_chat = {"methods": ["sendMessage", "editMessageText"], "chat_ids": [CHAT], "times": None}
            (await control.post("/control/faults", json=fault | of_chat)).raise_for_status()

    def _relay(self, telegram: str, mail_port: int) -> Program:
        port = free_port()
        clusters = {"production": {"api_urls": [f"http://127.0.0.1:{each}" for each in self._ports]}}
        environment = {
            "HOST": "127.0.0.1",
            "ALERT_RELAY_PORT": str(port),
            "DATA_DIR": str(self._folder / "data"),
            "API_KEY": KEY,
            "TELEGRAM_API_URL": telegram,
            "TELEGRAM_BOT_TOKEN": SUITE_TOKEN,
            "ALERT_CHAT_IDS": str(CHAT),
            "ALERT_FALLBACK_TARGETS": "email:on-call@example.com",
            "SMTP_URL": f"smtp://127.0.0.1:{mail_port}",
            "SMTP_FROM": "alerts@example.com",
            "ALERTMANAGER_CLUSTERS": json.dumps(clusters),
            "ALERTMANAGER_READ_SECONDS": "1",
            "WATCHDOG_MAX_AGE_SECONDS": "0",
            "STORM_INCIDENTS": "0",
            "TELEGRAM_BOT_PER_SECOND": "0",
            "TELEGRAM_CHAT_PER_SECOND": "0",
            "TELEGRAM_GROUP_PER_MINUTE": "0",
            "RETRY_BASE_SECONDS": "0.2",
            "RETRY_CAP_SECONDS": "2",
            "LOG_LEVEL": "WARNING",
        }
        arguments = [sys.executable, "-m", "services.alert_relay"]
        return Program(arguments, environment, self._folder / "relay.log", f"http://127.0.0.1:{port}")

    def _started_alertmanagers(self, relay_url: str) -> Iterator[Any]:
        gossip = [free_port() for _ in self._ports]
        for number, port in enumerate(self._ports):
            peers = (gossip[number], gossip[1 - number]) if len(gossip) > 1 else None
            folder = self._folder / f"alertmanager-{number}"
            yield servers.alertmanager(folder, port, relay_url, gossip=peers)

    async def _fire(
        self, peers: Sequence[httpx.AsyncClient], names: Sequence[int], control: httpx.AsyncClient
    ) -> None:
        """Fires the alerts, a few a second, as Prometheus would."""
        for number in names:
            await self._send(peers, number)
            if self._fault == "migrates" and number == len(names) // 2:
                moved = await control.put(f"/control/chats/{CHAT}/upgrade", json={"new_id": UPGRADED})
                moved.raise_for_status()
            await asyncio.sleep(0.2)

    async def _resolve(self, peers: Sequence[httpx.AsyncClient], names: Sequence[int]) -> None:
        for number in names:
            await self._send(peers, number, resolved=True)
            await asyncio.sleep(0.1)

    @staticmethod
    async def _send(peers: Sequence[httpx.AsyncClient], number: int, *, resolved: bool = False) -> None:
        """Posts an alert to each Alertmanager, which has it from Prometheus."""
        now = time.time()
        ends = {"endsAt": rfc3339(now)} if resolved else {}
        alert = {
            "labels": {"alertname": f"ProofAlert{number}", "severity": "critical"},
            "annotations": {"summary": "An alert of the proof."},
            "startsAt": rfc3339(now - 60),
        }
        for peer in peers:
            (await peer.post("/api/v2/alerts", json=[alert | ends])).raise_for_status()

    async def _kill(self, relay: Program, kills: int) -> None:
        for _ in range(kills):
            await asyncio.sleep(self._chance.uniform(0.3, 2.0))
            relay.kill()
            await asyncio.sleep(self._chance.uniform(0.0, 0.5))
            relay.start()
            await relay.ready()

    async def _wait(self, alerts: frozenset[int], api: httpx.AsyncClient, mails: MailServer) -> Outcome:
        """Reads until every alert is where it must be, or for as long as one may wait."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = Outcome(self._alertmanagers, self._fault, alerts)
            for each in await self._incidents(api):
                name = _ALERT.search(each["alertname"])
                found.incidents[int(name[1]) if name else -1] += 1
                found.resolved += each["state"] == "resolved"
            found.in_chat = self._in_chat()
            subjects = [str(mail["Subject"]) for mail in mails.mails]
            found.by_mail = frozenset(int(each) for text in subjects for each in _ALERT.findall(text))
            if found.complete or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.5)

    @staticmethod
    async def _incidents(api: httpx.AsyncClient) -> list[dict[str, Any]]:
        answered = await api.get("/api/v1/incidents", params={"limit": "200"})
        incidents: list[dict[str, Any]] = answered.raise_for_status().json()["incidents"]
        return incidents

    def _in_chat(self) -> Counter[int]:
        """Returns how often each alert is reported in the chat, without its end, by the sandbox's log."""
        found: Counter[int] = Counter()
        for entry in reader.lines_of(self._folder / "telegram.jsonl"):
            if entry["kind"] != "call" or not entry["delivered"] or entry["method"] != "sendMessage":
                continue
            name = _ALERT.search(entry["text"] or "")
            # The end of an incident answers its first message, and is not counted.
            if name is not None and "resolved after" not in entry["text"]:
                found[int(name[1])] += 1
        return found


if __name__ == "__main__":
    sys.exit(main())
