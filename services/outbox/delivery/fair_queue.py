"""Fair queue: start-time fair queueing between clients, so that no client's backlog starves another. Pure.

Each client has a virtual clock that advances by one for each of its messages; the client with the lowest
clock goes first. A client that was idle starts at the others' time: idleness earns no credit. The clocks
are in memory only: after a restart all clients are equal.

Goyal, Vin, Cheng: Start-time fair queueing, 1997.
"""

import heapq
from collections.abc import Iterable, Mapping

from services.outbox.messages import Lane


class FairQueue:
    """The virtual clocks of one worker's clients, for each lane."""

    def __init__(self) -> None:
        self._lanes = {lane: _Clocks() for lane in Lane}

    def shares(self, lane: Lane, clients: Iterable[str], room: int) -> dict[str, int]:
        """Divides ``room`` messages between the clients.

        Args:
            lane: the clients compete within one lane.
            clients: with a ready chat.
            room: number of messages that may be sent.

        Returns:
            The number of messages of each client that may send any, the client with the lowest clock first.
        """
        return self._lanes[lane].shares(clients, room)

    def reset(self, lane: Lane) -> None:
        """Makes all clients equal: nothing is ready in the lane."""
        self._lanes[lane].clear()

    def served(self, lane: Lane, numbers: Mapping[str, int]) -> None:
        """Advances the clocks by the numbers of messages that were claimed."""
        self._lanes[lane].serve(numbers)


class _Clocks:
    def __init__(self) -> None:
        self._of: dict[str, float] = {}
        #: The start tag of the message that was claimed last; no clock is behind it.
        self._now = 0.0

    def shares(self, clients: Iterable[str], room: int) -> dict[str, int]:
        heap = [(self._start(client), client) for client in clients]
        heapq.heapify(heap)
        shares: dict[str, int] = {}
        while heap and room > 0:
            clock, client = heap[0]
            # A lone client gets all of it at once.
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
        # A client that is not ahead starts at the others' time: its clock is not needed.
        self._of = {client: clock for client, clock in self._of.items() if clock > last}

    def clear(self) -> None:
        self._of.clear()

    def _start(self, client: str) -> float:
        return max(self._of.get(client, 0.0), self._now)
