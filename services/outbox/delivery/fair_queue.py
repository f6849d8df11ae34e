"""Turns of clients: start-time fair queueing, so that one client's backlog does not starve another.

Every client has a virtual clock that each of its messages moves on by one; who is furthest behind
goes first. A client that was away starts from where the others are: silence earns no credit. The
clocks are in this process alone and need no store: after a restart all are even again.

Goyal, Vin, Cheng: Start-time fair queueing, 1997.
"""

import heapq
from collections.abc import Iterable, Mapping

from services.outbox.messages import Lane


class Turns:
    """The virtual clocks of one worker's clients, for each lane."""

    def __init__(self) -> None:
        self._lanes = {lane: _Clocks() for lane in Lane}

    def shares(self, lane: Lane, clients: Iterable[str], room: int) -> dict[str, int]:
        """How many of ``room`` messages each client may send now, whoever has enough of them.

        Args:
            lane: fairness is among the messages of one lane.
            clients: who has something that is ready.
            room: messages that may go.

        Returns:
            The clients that may send any, those first that are furthest behind.
        """
        return self._lanes[lane].shares(clients, room)

    def rest(self, lane: Lane) -> None:
        """Nothing is ready in the lane: all are even again."""
        self._lanes[lane].clear()

    def served(self, lane: Lane, numbers: Mapping[str, int]) -> None:
        """Moves the clocks on by what was really claimed."""
        self._lanes[lane].serve(numbers)


class _Clocks:
    def __init__(self) -> None:
        self._of: dict[str, float] = {}
        #: The start tag of what was claimed last; nobody is behind it.
        self._now = 0.0

    def shares(self, clients: Iterable[str], room: int) -> dict[str, int]:
        heap = [(self._start(client), client) for client in clients]
        heapq.heapify(heap)
        shares: dict[str, int] = {}
        while heap and room > 0:
            clock, client = heap[0]
            # A lone client needs no comparing.
            granted = room if len(heap) == 1 else 1
            shares[client] = shares.get(client, 0) + granted
            room -= granted
            heapq.heapreplace(heap, (clock + granted, client))
        return shares

    def serve(self, numbers: Mapping[str, int]) -> None:
        served = {client: number for client, number in numbers.items() if number}
        last = self._now
        for client, number in served.items():
            start = self._start(client)
            self._of[client] = start + number
            last = max(last, start + number - 1)
        self._now = last
        # Whoever is not ahead of the others starts from where they are: nothing to remember.
        self._of = {client: clock for client, clock in self._of.items() if clock > last}

    def clear(self) -> None:
        self._of.clear()

    def _start(self, client: str) -> float:
        return max(self._of.get(client, 0.0), self._now)
