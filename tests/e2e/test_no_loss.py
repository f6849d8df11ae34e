"""The proof of no loss in small: real processes, one of them killed. All of it: ``make prove``."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks.prove import evidence, reader, scenarios
from benchmarks.prove.alerts import AlertClient
from benchmarks.prove.evidence import Left
from benchmarks.prove.reader import Verdict
from benchmarks.prove.scenarios import Plan, Ran
from services.kit.clock import rfc3339
from tests.e2e import wrong_bridge


async def test_a_bridge_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    ran = await scenarios.run(
        "kills", "sqlite", Plan(rounds=2, messages=120, seed=7, chats=20), tmp_path / "run"
    )
    assert ran.kills == 2
    assert ran.verdict.posted == 120
    assert ran.verdict.delivered > 0
    assert ran.broken == {}, ran.verdict.notes


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        (wrong_bridge.answers_before_it_stores, "lost"),
        (wrong_bridge.says_sent_and_does_not, "lost"),
        (wrong_bridge.sends_twice, "unexplained"),
        (wrong_bridge.does_not_wait_for_telegram, "order"),
        (wrong_bridge.gives_everything_up, "not delivered"),
    ],
)
async def test_the_proof_fails_on_a_bridge_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Callable[..., object], seen: str
) -> None:
    monkeypatch.setenv("WRONG", wrong.__name__)
    plan = Plan(rounds=1, messages=60, seed=7, chats=4, bridge="tests.e2e.wrong_bridge")
    ran = await scenarios.run("kills", "sqlite", plan, tmp_path / "run")
    assert ran.broken.get(seen, 0) > 0, ran


def test_a_run_without_trouble_or_without_deliveries_proves_nothing() -> None:
    ran = Ran("kills", "sqlite", Verdict(posted=10, accepted=10, delivered=10), {"kill -9": 3}, 3, 3, 1.0)
    assert ran.broken == {}
    assert replace(ran, felt=0).broken == {"troubles not felt": 3}
    assert replace(ran, verdict=Verdict(posted=10, delivered=5)).broken == {"not delivered": 5}
    assert replace(ran, verdict=Verdict()).broken == {"not delivered": 0}


def test_what_was_felt_is_told_by_those_whom_it_hit(tmp_path: Path) -> None:
    def write(name: str, *notes: dict[str, Any]) -> None:
        (tmp_path / name).write_bytes(b"".join(orjson.dumps(note) + b"\n" for note in notes))

    call = {"kind": "call", "answer": "given"}
    write(
        "telegram.jsonl", {"kind": "chat"}, call, call | {"answer": "replaced"}, call | {"answer": "dropped"}
    )
    write(
        "client.jsonl",
        {"do": "post", "request": 1, "at": 1_000.0},
        {"do": "answer", "request": 1, "at": 1_001.0, "status": 503},
        {"do": "answer", "request": 1, "at": 1_030.0, "status": 202, "ids": ["right", "slow", "wrong"]},
    )
    (tmp_path / "bridge-0.log").write_text('{"event":"rate_limit_not_shared"}\n{"event":"other"}\n')
    times = {"right": 1_000.0, "slow": 1_029.0, "wrong": 970.0}
    told = {name: {"accepted_at": rfc3339(at)} for name, at in times.items()}
    left = Left(tmp_path, told, [5.0])
    assert evidence.killed(left) == 1
    assert evidence.telegram_failed(left) == 2
    assert evidence.store_was_away(left) == 1
    assert evidence.rate_limit_was_not_shared(left) == 1
    assert evidence.clock_was_wrong(left) == 1


# The reader sees what is wrong: a judge that never finds anything proves nothing.

NAME = (100_000, 1, 0)


class Told:
    """A bridge's API, as it might answer."""

    def __init__(self, status: str, *outcomes: str) -> None:
        self._status = status
        self._attempts = [{"part": 1, "outcome": outcome} for outcome in outcomes]

    def all(self) -> dict[str, dict[str, Any]]:
        return {
            f"m{n}": {"id": f"m{n}", "status": self._status, "title": f"Proof 100000/1/{n}"} for n in range(2)
        }

    def one(self, identifier: str) -> dict[str, Any]:
        return {"id": identifier, "attempts": self._attempts}


def judged(folder: Path, told: Told, sent: list[int], *, status: int = 202, **of_copy: object) -> Verdict:
    """Two messages of a stream were posted; those of ``sent`` stand in the chat, in this order."""
    record, log = folder / "client.jsonl", folder / "telegram.jsonl"
    with record.open("wb") as notes:
        for n in range(2):
            event = {"chat_id": 100_000, "lane": 1, "number": n, "lines": 0, "hold": False, "expires": False}
            post = {"at": n, "do": "post", "request": n, "key": None, "events": [event]}
            answer = {"at": n, "do": "answer", "request": n, "status": status}
            answer |= {"ids": [f"m{n}"]} if status == 202 else {"text": "{}"}
            notes.write(orjson.dumps(post) + b"\n" + orjson.dumps(answer) + b"\n")
    with log.open("wb") as entries:
        for seq, n in enumerate(sent, 1):
            entry = {
                "kind": "call",
                "method": "sendMessage",
                "delivered": True,
                "answer": "given",
                "seq": seq,
            }
            entry |= {"time": float(seq), "message_id": seq, "text": f"Proof 100000/1/{n}"} | of_copy
            entries.write(orjson.dumps(entry) + b"\n")
    return reader.judge(record, log, told, [])


def test_the_reader_is_content_with_what_arrived_once_and_in_order(tmp_path: Path) -> None:
    verdict = judged(tmp_path, Told("delivered", "sent"), [0, 1])
    assert (verdict.delivered, verdict.broken) == (2, {})


def test_the_reader_sees_a_loss_whatever_the_bridge_says(tmp_path: Path) -> None:
    assert judged(tmp_path, Told("delivered", "sent"), [0]).broken == {"lost": 1}


def test_the_reader_sees_a_message_that_never_came_to_an_end(tmp_path: Path) -> None:
    assert judged(tmp_path, Told("queued"), [0]).broken == {"lost": 2}


def test_the_reader_allows_holding_and_expiring_only_where_it_was_asked_for(tmp_path: Path) -> None:
    assert judged(tmp_path, Told("expired"), []).broken == {"lost": 2}
    assert judged(tmp_path, Told("unknown"), []).broken == {"lost": 2}
    assert judged(tmp_path, Told("dead_letter"), []).broken == {}


def test_the_reader_sees_a_wrong_order(tmp_path: Path) -> None:
    assert judged(tmp_path, Told("delivered", "sent"), [1, 0]).broken == {"order": 1}


def test_the_reader_sees_a_duplicate_that_nothing_explains(tmp_path: Path) -> None:
    assert judged(tmp_path, Told("delivered", "unknown", "sent"), [0, 0, 1]).broken == {"unexplained": 1}
    dropped = judged(tmp_path, Told("delivered", "sent"), [0, 0, 1], answer="dropped")
    assert dropped.broken == {"unexplained": 1}


def test_the_reader_counts_a_duplicate_whose_answer_was_lost(tmp_path: Path) -> None:
    verdict = judged(tmp_path, Told("delivered", "unknown", "sent"), [0, 0, 1], answer="dropped")
    assert (verdict.duplicates, verdict.broken) == (1, {})


def test_the_reader_sees_what_was_refused_and_came_all_the_same(tmp_path: Path) -> None:
    assert judged(tmp_path, Told("delivered", "sent"), [0], status=422).broken == {"phantoms": 1}


def test_the_reader_sees_what_nobody_posted(tmp_path: Path) -> None:
    assert judged(tmp_path, Told("delivered", "sent"), [0, 1, 9]).broken == {"phantoms": 1}


# The same for alerts.


def judged_alert(folder: Path, notices: str, incidents: int = 1) -> Verdict:
    """One alert was accepted as firing and as resolved; a chat shows these signs, in this order."""
    log = folder / "telegram.jsonl"
    common = {"kind": "call", "method": "sendMessage", "delivered": True, "answer": "given"}
    with log.open("wb") as entries:
        for number, sign in enumerate(notices):
            entry = {
                "seq": number,
                "time": number,
                "message_id": number,
                "text": f"{sign} ProofAlert0 (critical)",
            }
            entries.write(orjson.dumps(common | entry) + b"\n")
    webhooks = {(0, False), (0, True)}
    client = AlertClient("http://alert-relay.example", "key", 1, posted=webhooks, accepted=webhooks)
    assert client.missing(log) == {(0, sign == "✅") for sign in "🔥✅" if sign not in notices}
    return client.judge(log, {"ProofAlert0": incidents}, [])


@pytest.mark.parametrize(
    ("notices", "incidents", "broken"),
    [
        ("🔥✅", 1, {}),
        ("🔥", 1, {"lost": 1}),
        ("✅🔥", 1, {"order": 1}),
        ("🔥🔥✅", 1, {"unexplained": 1}),
        ("🔥✅", 2, {"phantoms": 1}),
    ],
)
def test_the_judge_of_alerts_finds_each_fault(
    tmp_path: Path, notices: str, incidents: int, broken: dict[str, int]
) -> None:
    assert judged_alert(tmp_path, notices, incidents).broken == broken
