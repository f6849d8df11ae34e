"""Results are settled several at once: at half of the concurrency, at the last open attempt, or in time."""

import asyncio

import pytest

from services.outbox.delivery import result_buffer
from services.outbox.delivery.result_buffer import ResultBuffer
from services.outbox.messages import Decision, MessageState, Settled
from tests.outbox.making import claimed, sent
from tests.servers import PATIENCE_SECONDS


def result(seq: int = 1) -> Settled:
    return Settled(claimed(seq=seq), sent(), Decision(MessageState.DELIVERED))


class Buffer(ResultBuffer):
    """A buffer with open attempts, that counts how often it wakes its worker."""

    def __init__(self, concurrency: int, *, opened: int) -> None:
        super().__init__(concurrency, self._count)
        self.woken = asyncio.Event()
        self.wakes = 0
        self.opened(opened)

    def _count(self) -> None:
        self.wakes += 1
        self.woken.set()


@pytest.fixture(autouse=True)
def _no_result_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_buffer, "MAX_WAIT_SECONDS", 3600.0)


async def test_nothing_is_due_without_a_result() -> None:
    buffer = Buffer(4, opened=0)
    assert not buffer
    assert not buffer.is_due()
    assert buffer.take() == []


async def test_the_first_of_several_results_waits_for_the_next() -> None:
    buffer = Buffer(8, opened=8)
    buffer.add(result())
    assert buffer
    assert not buffer.is_due()
    assert buffer.wakes == 0


async def test_results_are_due_at_half_of_the_concurrency() -> None:
    buffer = Buffer(8, opened=8)
    for seq in range(1, 5):
        assert not buffer.is_due()
        buffer.add(result(seq))
    assert buffer.is_due()
    assert buffer.wakes == 1
    assert [settled.message.seq for settled in buffer.take()] == [1, 2, 3, 4]
    assert not buffer


async def test_the_result_of_the_last_open_attempt_is_due_at_once() -> None:
    buffer = Buffer(8, opened=1)
    buffer.add(result())
    assert buffer.is_due()
    assert buffer.wakes == 1


async def test_a_result_that_has_waited_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_buffer, "MAX_WAIT_SECONDS", 0.0)
    buffer = Buffer(8, opened=8)
    buffer.add(result())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await buffer.woken.wait()
    assert buffer.is_due()


async def test_results_whose_transaction_failed_come_first_and_are_due() -> None:
    buffer = Buffer(8, opened=8)
    buffer.add(result(1))
    failed = buffer.take()
    buffer.add(result(2))
    buffer.put_back(failed)
    assert buffer.is_due()
    assert [settled.message.seq for settled in buffer.take()] == [1, 2]
    assert not buffer.is_due()


@pytest.mark.parametrize(
    ("concurrency", "opened", "room"),
    [(8, 0, 8), (8, 4, 4), (8, 5, 0), (8, 8, 0), (1, 0, 1), (1, 1, 0), (5, 2, 3), (5, 3, 0)],
)
async def test_half_of_the_concurrency_is_claimed_at_once_or_nothing(
    concurrency: int, opened: int, room: int
) -> None:
    assert Buffer(concurrency, opened=opened).room() == room


async def test_the_worker_wakes_when_there_is_room_to_claim() -> None:
    buffer = Buffer(4, opened=4)
    buffer.add(result())
    buffer.take()
    assert buffer.wakes == 0
    buffer.add(result())
    assert buffer.wakes == 1
    assert buffer.room() == 2
