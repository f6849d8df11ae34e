"""Results of attempts that wait to be settled: several in one transaction, and none for long."""

import asyncio
from collections.abc import Callable, Sequence

from services.outbox.messages import Settled

#: Seconds that the first result waits for further ones.
MAX_WAIT_SECONDS = 0.02


class ResultBuffer:
    """Holds the results of one worker, and counts its open attempts.

    A transaction costs nearly the same for few messages as for many: half of the worker's concurrency is
    claimed at once, and settled at once.

    Args:
        concurrency: attempts that may be open at once.
        wake: called when the worker can settle or claim.
    """

    def __init__(self, concurrency: int, wake: Callable[[], None]) -> None:
        self._concurrency = concurrency
        self._half = (concurrency + 1) // 2
        self._wake = wake
        self._results: list[Settled] = []
        self._open = 0
        #: Whether the first result has waited for long enough.
        self._is_late = False
        self._timer: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        return bool(self._results)

    def opened(self, number: int) -> None:
        """Counts attempts that were claimed."""
        self._open += number

    def add(self, result: Settled) -> None:
        """Adds the result of an open attempt."""
        if not self._results:
            self._timer = asyncio.get_running_loop().call_later(MAX_WAIT_SECONDS, self._wait_no_longer)
        self._results.append(result)
        self._open -= 1
        if self.is_due() or self._room() == self._half:
            self._wake()

    def _wait_no_longer(self) -> None:
        self._is_late = True
        self._wake()

    def is_due(self) -> bool:
        """Whether the results are to be settled now."""
        if not self._results:
            return False
        return self._is_late or not self._open or len(self._results) >= self._half

    def room(self) -> int:
        """Messages that the transaction that settles all results may claim; 0 where these are too few."""
        room = self._room()
        return room if room >= self._half else 0

    def _room(self) -> int:
        return self._concurrency - self._open

    def take(self) -> list[Settled]:
        """Removes and returns all results."""
        if self._timer is not None:
            self._timer.cancel()
        results, self._results, self._is_late = self._results, [], False
        return results

    def put_back(self, results: Sequence[Settled]) -> None:
        """Returns results whose transaction failed; they are due."""
        self._results, self._is_late = [*results, *self._results], True
