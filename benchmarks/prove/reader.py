"""Checks the invariants from the client's record, the sandbox's log and the bridge's public API.

Definitions, for a stream (a chat's lane) and a message of several parts:

- *accepted*: the client has a 202 with the message's id.
- *delivered*: by the sandbox's log, each part is in the chat.
- *lost*: accepted and not delivered, and its state by the API is not dead_letter, expired, cancelled,
  suppressed or unknown (held). A message that the API calls delivered and that is not in the chat is lost,
  and so is one that did not reach a final state.
- *order violation*: the first copy of a message is in the chat before an earlier message of the same stream
  is complete. Earlier means: answered with 202 before the later one was posted, or before it in its request.
- *duplicate*: a further copy of a part. It is explained if the API shows as many attempts with an unknown
  outcome, and if the sandbox withheld the answer to an earlier copy or a bridge was killed at that time.
- *phantom*: a message in a chat that was refused, or that the client never posted.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, Self

import httpx
import orjson

Name = tuple[int, int, int]  # chat, lane, number
_NAME = re.compile(r"Proof (\d+)/(\d)/(\d+)(?:/(\d{4}))?\b")
ENDED_WELL = frozenset({"dead_letter", "expired", "cancelled", "suppressed", "unknown"})
#: The request of a killed bridge may still arrive this many seconds later.
KILL_SHADOW_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Posted:
    """An event by the client's record; ``id`` is None without a 202, ``refused`` empty without a refusal."""

    name: Name
    lines: int
    hold: bool
    expires: bool
    posted_at: float
    answered_at: float | None = None
    id: str | None = None
    refused: str = ""
    place: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Copy:
    """A message in a chat, by the sandbox's log."""

    seq: int
    at: float
    answer: str
    message_id: int
    lines: frozenset[int]


@dataclass
class Verdict:
    """Counts of one run; :attr:`broken` must be empty."""

    posted: int = 0
    accepted: int = 0
    refused: int = 0
    unanswered: int = 0
    delivered: int = 0
    dead_letter: int = 0
    expired: int = 0
    held: int = 0
    other: int = 0
    lost: int = 0
    order: int = 0
    duplicates: int = 0
    unexplained: int = 0
    phantoms: int = 0
    without_202: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def broken(self) -> dict[str, int]:
        wrong = {name: getattr(self, name) for name in ("lost", "order", "unexplained", "phantoms")}
        return {name: number for name, number in wrong.items() if number}

    def note(self, text: str) -> None:
        if len(self.notes) < 40:
            self.notes.append(text)


def posted_in(record: Path) -> dict[Name, Posted]:
    """Reads the client's record: all posted events by name."""
    requests: dict[int, dict[str, Any]] = {}
    answers: dict[int, dict[str, Any]] = {}
    for note in lines_of(record):
        if note["do"] == "post":
            requests[note["request"]] = note
        elif note["do"] == "answer" and answers.get(note["request"], {}).get("status") != 202:
            answers[note["request"]] = note
    found = {}
    for number, request in requests.items():
        answer = answers.get(number, {})
        ids = answer.get("ids") or [None] * len(request["events"])
        refusal = _refusal(answer)
        for index, (event, identifier) in enumerate(zip(request["events"], ids, strict=True)):
            name = (event["chat_id"], event["lane"], event["number"])
            found[name] = Posted(
                name,
                event["lines"],
                event["hold"],
                event["expires"],
                request["at"],
                answer.get("at"),
                identifier,
                refusal,
                (number, index),
            )
    return found


def _refusal(answer: Mapping[str, Any]) -> str:
    """The refusal in an answer; empty if it was accepted, or if the answer leaves that open."""
    if answer.get("status", 202) == 202 or '"stored":"unknown"' in answer["text"]:
        return ""
    return f"{answer['status']} {answer['text']}"


def copies_in(log: Path) -> dict[Name, list[Copy]]:
    """Reads the sandbox's log: the copies in the chats by name, oldest first."""
    found: dict[Name, list[Copy]] = defaultdict(list)
    for entry in lines_of(log):
        if entry["kind"] != "call" or not entry["delivered"] or entry["method"] != "sendMessage":
            continue
        names = _NAME.findall(entry["text"] or "")
        if names:
            chat, lane, number, _ = names[0]
            lines = frozenset(int(line) for *_, line in names if line)
            copy = Copy(entry["seq"], entry["time"], entry["answer"], entry["message_id"], lines)
            found[int(chat), int(lane), int(number)].append(copy)
    return found


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the entries of a file of JSON lines, without lines that a kill cut short."""
    with path.open("rb") as lines:
        for line in lines:
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                continue


class MessageApi(Protocol):
    """The two calls of the bridge's API that the reader uses."""

    def all(self) -> dict[str, dict[str, Any]]:
        """All messages by id, as the search returns them."""

    def one(self, identifier: str) -> dict[str, Any]:
        """A message with its attempts."""


class Api:
    """Reads the bridge's public API."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx.Client(
            base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=30
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def all(self) -> dict[str, dict[str, Any]]:
        """All messages by id, as the search returns them."""
        found: dict[str, dict[str, Any]] = {}
        cursor: str | None = None
        while True:
            parameters = {"limit": "500"} | ({"cursor": cursor} if cursor else {})
            page = self._client.get("/messages", params=parameters).raise_for_status().json()
            found |= {item["id"]: item for item in page["items"]}
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    def one(self, identifier: str) -> dict[str, Any]:
        """A message with its attempts."""
        whole: dict[str, Any] = self._client.get(f"/messages/{identifier}").raise_for_status().json()
        return whole


def judge(record: Path, log: Path, api: MessageApi, kills: Sequence[float]) -> Verdict:
    """Reads all records and counts.

    Args:
        record: file of the client.
        log: file of the sandbox.
        api: of the bridge.
        kills: times at which a running bridge was killed, seconds since the epoch.
    """
    posted, copies, messages = posted_in(record), copies_in(log), api.all()
    verdict = Verdict(posted=len(posted))
    for event in posted.values():
        _count(verdict, event, copies.get(event.name, []), messages)
    for name in copies.keys() - posted.keys():
        verdict.phantoms += 1
        verdict.note(f"phantom: {name} was never posted")
    by_name = {item["title"]: identifier for identifier, item in messages.items()}
    for name, found in copies.items():
        known = posted.get(name)
        identifier = (known.id if known is not None else None) or by_name.get("Proof {}/{}/{}".format(*name))
        _duplicates(verdict, name, found, api, identifier, kills)
    _order(verdict, posted, copies)
    return verdict


def _count(verdict: Verdict, event: Posted, copies: list[Copy], messages: Mapping[str, Any]) -> None:
    if event.id is None:
        verdict.refused += bool(event.refused)
        verdict.unanswered += not event.refused
        verdict.without_202 += bool(copies)
        if copies and event.refused:
            verdict.phantoms += 1
            verdict.note(f"phantom: {event.name} was refused ({event.refused}) and is in the chat")
        return
    verdict.accepted += 1
    state = messages[event.id]["status"] if event.id in messages else "not known to the bridge"
    complete = _complete_at(event, copies) is not None
    if complete:
        verdict.delivered += 1
    elif state in ENDED_WELL:
        verdict.dead_letter += state == "dead_letter"
        verdict.expired += state == "expired"
        verdict.held += state == "unknown"
        verdict.other += state in {"cancelled", "suppressed"}
    if not (state in _allowed(event) or (state == "delivered" and complete)):
        verdict.lost += 1
        verdict.note(f"lost: {event.name} {event.id} is {state}, {len(copies)} copies in the chat")


def _allowed(event: Posted) -> frozenset[str]:
    """The final states besides delivered that the event allows; held and expired only by its request.

    Of events that expire those that may have arrived end as unknown.
    """
    requested = {"unknown": event.hold or event.expires, "expired": event.expires}
    return frozenset(state for state in ENDED_WELL if requested.get(state, True))


def _complete_at(event: Posted, copies: Sequence[Copy]) -> int | None:
    """The place in the log at which the last part arrived; None if a part is missing."""
    missing = set(range(event.lines))
    for copy in copies:
        missing -= copy.lines
        if not missing:
            return copy.seq
    return None


def _duplicates(
    verdict: Verdict,
    name: Name,
    copies: Sequence[Copy],
    api: MessageApi,
    identifier: str | None,
    kills: Sequence[float],
) -> None:
    parts: dict[int, list[Copy]] = defaultdict(list)
    for copy in copies:
        parts[min(copy.lines, default=0)].append(copy)
    if all(len(part) == 1 for part in parts.values()):
        return
    attempts = api.one(identifier)["attempts"] if identifier else []
    unknown = Counter(attempt["part"] for attempt in attempts if attempt["outcome"] == "unknown")
    for number, first in enumerate(sorted(parts), 1):
        again = len(parts[first]) - 1
        verdict.duplicates += again
        unseen = sum(not explained(*pair, kills) for pair in pairwise(parts[first]))
        wrong = max(unseen, again - unknown[number])
        if wrong > 0:
            verdict.unexplained += wrong
            verdict.note(f"duplicate: {name} part {number}, {again + 1} copies, {unknown[number]} unknown")


def explained(copy: Copy, again: Copy, kills: Sequence[float]) -> bool:
    """Whether the sender could not know that the earlier copy had arrived: no answer, or a kill."""
    killed = any(copy.at - KILL_SHADOW_SECONDS < at <= again.at for at in kills)
    return copy.answer != "given" or killed


def _order(verdict: Verdict, posted: Mapping[Name, Posted], copies: Mapping[Name, list[Copy]]) -> None:
    streams: dict[tuple[int, int], list[Posted]] = defaultdict(list)
    for event in posted.values():
        if event.id is not None and event.name in copies:
            streams[event.name[:2]].append(event)
    for stream in streams.values():
        stream.sort(key=lambda event: event.place)
        latest = 0
        for event in stream:
            found = copies[event.name]
            if found[0].seq < latest:
                verdict.order += 1
                verdict.note(f"order: {event.name} came before one that was accepted earlier")
            latest = max(latest, _complete_at(event, found) or 0)
