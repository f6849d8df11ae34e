"""The proof of no loss in small: real processes, one of them killed. All of it: ``make prove``."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks.prove import reader, scenarios
from benchmarks.prove.reader import Verdict
from benchmarks.prove.scenarios import Plan

pytestmark = pytest.mark.timeout(180)


async def test_a_bridge_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    ran = await scenarios.run(
        "kills", "sqlite", Plan(rounds=2, messages=120, seed=7, chats=20), tmp_path / "run"
    )
    assert ran.kills == 2
    assert ran.verdict.posted == 120
    assert ran.verdict.delivered > 0
    assert ran.verdict.broken == {}, ran.verdict.notes


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
