"""Whether what went wrong was felt, by the word of those whom it hit and not of the scenario that did it.

A proof in which nothing happened proves nothing: a fault that is not injected any more, a Redis that
nobody uses, a disk that is not full would leave every invariant whole.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.prove.reader import lines_of

#: A time that is this far from the client's was taken from another clock.
_APART_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Left:
    """What a run has left behind.

    Args:
        folder: logs of the programs, the sandbox's log, the client's record.
        told: every message as the bridge's search tells it, by id.
        kills: when a bridge that ran was killed.
    """

    folder: Path
    told: Mapping[str, Mapping[str, Any]]
    kills: Sequence[float]


Felt = Callable[[Left], int]


def killed(left: Left) -> int:
    """Bridges that ran when they were killed."""
    return len(left.kills)


def telegram_failed(left: Left) -> int:
    """Calls that the sandbox did not answer as Telegram would."""
    return sum(
        entry["kind"] == "call" and entry["answer"] != "given"
        for entry in lines_of(left.folder / "telegram.jsonl")
    )


def store_was_away(left: Left) -> int:
    """Requests that the client got a 503 for."""
    return sum(note.get("status") == 503 for note in lines_of(left.folder / "client.jsonl"))


def rate_limit_was_not_shared(left: Left) -> int:
    """How often a bridge noted that it had lost Redis."""
    logs = (log.read_text(errors="replace") for log in left.folder.glob("bridge-*.log"))
    return sum(log.count('"rate_limit_not_shared"') for log in logs)


def clock_was_wrong(left: Left) -> int:
    """Messages that were accepted at a time at which the client had not posted them, or long had."""
    posted: dict[int, float] = {}
    wrong = 0
    for note in lines_of(left.folder / "client.jsonl"):
        if note["do"] == "post":
            posted[note["request"]] = note["at"]
        for identifier in note.get("ids", ()):
            at = datetime.fromisoformat(left.told[identifier]["accepted_at"]).timestamp()
            soonest, latest = posted[note["request"]] - _APART_SECONDS, note["at"] + _APART_SECONDS
            wrong += not soonest < at < latest
    return wrong
