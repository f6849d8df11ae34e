"""Of those that wait, urgent ones go first; who gives up takes no turn."""

import asyncio
from contextlib import suppress

from services.alert_relay.urgent_first import UrgentFirst


class Runs:
    """Runs blocks under the limit, and notes the order of their beginnings."""

    def __init__(self, limit: int) -> None:
        self.gate = UrgentFirst(limit)
        self.began: list[str] = []
        self.at_once = self.most_at_once = 0

    async def run(self, name: str, done: asyncio.Event, *, urgent: bool = False) -> None:
        async with self.gate.turn(urgent=urgent):
            self.began.append(name)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            await done.wait()
            self.at_once -= 1


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_urgent_ones_go_first_and_each_class_keeps_its_order() -> None:
    runs, done = Runs(1), asyncio.Event()
    tasks = [asyncio.create_task(runs.run("first", done))]
    await settle()
    names = ("a", "b", "URGENT 1", "c", "URGENT 2")
    tasks += [asyncio.create_task(runs.run(name, done, urgent=name.startswith("URGENT"))) for name in names]
    await settle()
    done.set()
    await asyncio.gather(*tasks)

    assert runs.began == ["first", "URGENT 1", "URGENT 2", "a", "b", "c"]
    assert runs.most_at_once == 1


async def test_not_more_than_the_limit_run_at_once() -> None:
    runs, done = Runs(3), asyncio.Event()
    tasks = [asyncio.create_task(runs.run(str(number), done)) for number in range(10)]
    await settle()
    assert runs.began == ["0", "1", "2"]
    done.set()
    await asyncio.gather(*tasks)

    assert (len(runs.began), runs.most_at_once) == (10, 3)


async def test_who_gives_up_takes_no_turn_also_if_it_comes_in_the_same_moment() -> None:
    runs, done = Runs(1), asyncio.Event()
    first = asyncio.create_task(runs.run("first", done))
    await settle()
    waiting = [asyncio.create_task(runs.run(name, done)) for name in ("a", "b", "c")]
    await settle()
    waiting[0].cancel()
    done.set()
    await first
    # The turn of `b` has come, and it has not run yet.
    waiting[1].cancel()
    for each in waiting[:2]:
        with suppress(asyncio.CancelledError):
            await each
    await waiting[2]

    assert runs.began[-1] == "c"
    await runs.run("last", done)
    assert runs.began[-1] == "last"
