"""Counts the effects of the injected faults, from the records of the programs that were affected.

A run without effects proves nothing: the invariants would hold as well if a fault were no longer injected, if
no bridge used Redis, or if the disk never filled up. The scenario itself is therefore not consulted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.prove.reader import lines_of

#: A time of acceptance further than this from the client's clock was read from a skewed clock.
_APART_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Left:
    """The records of a finished run.

    Args:
        folder: contains the programs' logs, the sandbox's log and the client's record.
        messages: all messages by id, as the bridge's search returns them.
        kills: times at which a running bridge was killed.
    """

    folder: Path
    messages: Mapping[str, Mapping[str, Any]]
    kills: Sequence[float]


Felt = Callable[[Left], int]


def killed(left: Left) -> int:
    """How often a running bridge was killed."""
    return len(left.kills)


def telegram_failed(left: Left) -> int:
    """Bot API calls whose answer the sandbox replaced, dropped or lost."""
    return sum(
        entry["kind"] == "call" and entry["answer"] != "given"
        for entry in lines_of(left.folder / "telegram.jsonl")
    )


def store_was_away(left: Left) -> int:
    """Requests that the bridge answered with 503."""
    return sum(note.get("status") == 503 for note in lines_of(left.folder / "client.jsonl"))


def rate_limit_was_not_shared(left: Left) -> int:
    """How often a bridge noted that it had lost Redis."""
    logs = (log.read_text(errors="replace") for log in left.folder.glob("bridge-*.log"))
    return sum(log.count('"rate_limit_not_shared"') for log in logs)


def clock_was_wrong(left: Left) -> int:
    """Messages whose time of acceptance is not near the client's request and answer."""
    posted: dict[int, float] = {}
    wrong = 0
    for note in lines_of(left.folder / "client.jsonl"):
        if note["do"] == "post":
            posted[note["request"]] = note["at"]
        for identifier in note.get("ids", ()):
            at = datetime.fromisoformat(left.messages[identifier]["accepted_at"]).timestamp()
            soonest, latest = posted[note["request"]] - _APART_SECONDS, note["at"] + _APART_SECONDS
            wrong += not soonest < at < latest
    return wrong
