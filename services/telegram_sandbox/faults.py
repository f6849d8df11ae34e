"""Faults on demand: rules that delay a request, replace its answer, or drop it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from typing import Any


class Kind(StrEnum):
    """What happens to a matching request."""

    ANSWER = "answer"  #: a Bot API answer with `ok: false`: status, description, parameters
    RAW = "raw"  #: any body with any status, such as a proxy's HTML 502
    RESET = "reset"  #: the connection is reset (RST) with no answer
    CLOSE = "close"  #: the connection is closed (FIN) with no answer
    HANG = "hang"  #: no answer for `seconds`, then the connection is closed
    LATENCY = "latency"  #: the answer comes later, by `seconds` (up to `seconds_max`)


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule. Empty `methods` or `chat_ids` match all; `times` None has no limit.

    With `deliver` the method runs before the fault; together with `close` this is accept-then-drop.
    """

    kind: Kind
    deliver: bool = False
    status: int = 500
    description: str = "Internal Server Error"
    parameters: dict[str, Any] | None = None
    body: str = ""
    content_type: str = "text/html"
    seconds: float = 0.0
    seconds_max: float | None = None
    methods: frozenset[str] = frozenset()
    chat_ids: frozenset[int] = frozenset()
    times: int | None = 1
    probability: float = 1.0

    def matches(self, method: str, chat_id: int | None) -> bool:
        return (not self.methods or method in self.methods) and (
            not self.chat_ids or chat_id in self.chat_ids
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """The faults of one request: wait `latency` seconds, then apply `fault` (None: answer normally)."""

    latency: float = 0.0
    fault: Fault | None = None


@dataclass(slots=True)
class Faults:
    """The active rules, oldest first, and their seeded random numbers."""

    random: Random = field(default_factory=lambda: Random(0))  # noqa: S311 # faults, not secrets
    rules: dict[int, Fault] = field(default_factory=dict)
    _next_id: int = 1

    def add(self, fault: Fault) -> int:
        number = self._next_id
        self._next_id += 1
        self.rules[number] = fault
        return number

    def add_all(self, faults: Sequence[Fault]) -> list[int]:
        return [self.add(fault) for fault in faults]

    def remove(self, number: int) -> bool:
        return self.rules.pop(number, None) is not None

    def clear(self) -> None:
        self.rules.clear()

    def seed(self, seed: int) -> None:
        self.random.seed(seed)

    def plan(self, method: str, chat_id: int | None) -> Plan | None:
        """Returns the faults of one request: the sum of latencies, and the first other rule that matches."""
        latency, chosen = 0.0, None
        for number, fault in tuple(self.rules.items()):
            if chosen is not None and fault.kind is not Kind.LATENCY:
                continue
            if not fault.matches(method, chat_id) or not self._hits(fault):
                continue
            self._use(number, fault)
            if fault.kind is Kind.LATENCY:
                latency += self.random.uniform(fault.seconds, fault.seconds_max or fault.seconds)
            else:
                chosen = fault
        return Plan(latency, chosen) if latency or chosen else None

    def _hits(self, fault: Fault) -> bool:
        return fault.probability >= 1.0 or self.random.random() < fault.probability

    def _use(self, number: int, fault: Fault) -> None:
        if fault.times is None:
            return
        if fault.times <= 1:
            del self.rules[number]
        else:
            self.rules[number] = replace(fault, times=fault.times - 1)
