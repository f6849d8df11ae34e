"""Alerts: posts webhooks to alert-relay as Alertmanager does, and checks that each was notified.

Each alert has a name of its own and two webhooks: firing, then resolved. A webhook is repeated until it is
answered with 200. The counts have the meaning that :mod:`benchmarks.prove.reader` defines, with these
differences: a message is one webhook, and a second incident of one alert counts as a phantom.
"""

import asyncio
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from benchmarks.prove import reader
from benchmarks.prove.reader import Copy, Verdict
from services.kit.clock import rfc3339

POSTERS = 4
ANSWER_SECONDS = 15.0
#: A webhook: the number of its alert, and whether it says that the alert is resolved.
Webhook = tuple[int, bool]
_NOTICE = re.compile(r"(🔥|✅) ProofAlert(\d+)\b")


@dataclass
class AlertClient:
    """Posts alerts to alert-relay, and remembers which webhooks were answered with 200.

    Args:
        url: of alert-relay.
        key: bearer key.
        count: number of alerts.
        posted: webhooks that were posted at least once.
        accepted: webhooks that were answered with 200.
        tries_without_answer: how often a webhook was repeated because it got no answer, or 5xx.
    """

    url: str
    key: str
    count: int
    posted: set[Webhook] = field(default_factory=set)
    accepted: set[Webhook] = field(default_factory=set)
    tries_without_answer: int = 0

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    async def run(self, seconds_between: float) -> None:
        """Posts all alerts.

        Args:
            seconds_between: pause of each poster after an alert, so that the alerts spread over the faults.
        """
        numbers = iter(range(self.count))
        async with httpx.AsyncClient(
            base_url=self.url, headers=self._headers, timeout=ANSWER_SECONDS
        ) as client:
            posters = (self._post_next(client, numbers, seconds_between) for _ in range(POSTERS))
            await asyncio.gather(*posters)

    async def _post_next(
        self, client: httpx.AsyncClient, numbers: Iterator[int], seconds_between: float
    ) -> None:
        for number in numbers:
            starts_at = time.time()
            for resolved in (False, True):
                await self._until_accepted(client, (number, resolved), _webhook(number, starts_at, resolved))
            await asyncio.sleep(seconds_between)

    async def _until_accepted(
        self, client: httpx.AsyncClient, webhook: Webhook, body: Mapping[str, Any]
    ) -> None:
        self.posted.add(webhook)
        while True:
            try:
                response = await client.post("/webhook/alert", json=body)
            except httpx.ConnectError:
                await asyncio.sleep(0.05)
                continue
            except httpx.HTTPError:
                self.tries_without_answer += 1
                continue
            if response.status_code == 200:
                self.accepted.add(webhook)
                return
            if response.status_code < 500:
                raise RuntimeError(f"alert-relay refused a webhook: {response.status_code} {response.text}")
            self.tries_without_answer += 1
            await asyncio.sleep(0.2)

    def missing(self, log: Path) -> set[Webhook]:
        """The accepted webhooks that no chat shows yet, by the sandbox's log."""
        return self.accepted - copies_in(log).keys()

    def judge(self, log: Path, incidents: Mapping[str, int], kills: Sequence[float]) -> Verdict:
        """Counts.

        Args:
            log: file of the sandbox.
            incidents: of each alert, by alert-relay's public API.
            kills: times at which the suite was killed, seconds since the epoch.
        """
        copies = copies_in(log)
        verdict = Verdict(posted=len(self.posted), accepted=len(self.accepted))
        for webhook in sorted(self.accepted):
            if webhook in copies:
                verdict.delivered += 1
            else:
                verdict.lost += 1
                verdict.note(f"lost: {webhook} was answered with 200 and is in no chat")
        for webhook, found in copies.items():
            verdict.duplicates += len(found) - 1
            unexplained = sum(not reader.explained(*pair, kills) for pair in pairwise(found))
            if unexplained:
                verdict.unexplained += unexplained
                verdict.note(f"duplicate: {webhook}, {len(found)} copies")
        _count_order(verdict, copies)
        for name, number in incidents.items():
            if number > 1:
                verdict.phantoms += number - 1
                verdict.note(f"phantom: {name} has {number} incidents")
        return verdict

    def incidents(self) -> Counter[str]:
        """Reads the number of incidents of each alert from alert-relay's public API."""
        found: Counter[str] = Counter()
        cursor: str | None = None
        with httpx.Client(base_url=self.url, headers=self._headers, timeout=30) as client:
            while True:
                parameters = {"limit": "200"} | ({"cursor": cursor} if cursor else {})
                page = client.get("/api/v1/incidents", params=parameters).raise_for_status().json()
                found.update(each["alertname"] for each in page["incidents"])
                cursor = page["next_cursor"]
                if cursor is None:
                    return found


def _count_order(verdict: Verdict, copies: Mapping[Webhook, Sequence[Copy]]) -> None:
    for number in {number for number, _ in copies}:
        firing, resolved = copies.get((number, False), ()), copies.get((number, True), ())
        if firing and resolved and resolved[0].seq < firing[0].seq:
            verdict.order += 1
            verdict.note(f"order: alert {number} was resolved in the chat before it fired")


def copies_in(log: Path) -> dict[Webhook, list[Copy]]:
    """Reads the sandbox's log: the notices of each webhook that are in a chat, oldest first."""
    found: dict[Webhook, list[Copy]] = defaultdict(list)
    for entry in reader.lines_of(log):
        if entry["kind"] != "call" or not entry["delivered"] or entry["method"] != "sendMessage":
            continue
        for sign, number in _NOTICE.findall(entry["text"] or ""):
            copy = Copy(entry["seq"], entry["time"], entry["answer"], entry["message_id"], frozenset())
            found[int(number), sign == "✅"].append(copy)
    return found


def _webhook(number: int, starts_at: float, resolved: bool) -> dict[str, Any]:
    """A webhook of Alertmanager, version 4, with one alert."""
    labels = {"alertname": f"ProofAlert{number}", "severity": "critical"}
    status = "resolved" if resolved else "firing"
    return {
        "version": "4",
        "groupKey": f"{{}}:{json.dumps(labels)}",
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "alert-relay",
        "groupLabels": labels,
        "commonLabels": labels,
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example:9093",
        "alerts": [
            {
                "status": status,
                "labels": labels,
                "annotations": {"summary": "An alert of the proof."},
                "startsAt": rfc3339(starts_at),
                "endsAt": rfc3339(time.time()) if resolved else "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus.example:9090/graph",
                "fingerprint": f"{number:016x}",
            }
        ],
    }
