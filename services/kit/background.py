"""Work beside the requests: it begins and ends with its service, and what fails in it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import structlog

from services.kit.errors import Problem

log = structlog.get_logger()


@asynccontextmanager
async def beside(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs the loops while the block runs; then they are cancelled and waited for.

    A loop that fails before that is logged at once: nobody else would notice.
    """
    tasks = [asyncio.create_task(loop) for loop in loops]
    for task in tasks:
        task.add_done_callback(_tell)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _tell(task: "asyncio.Task[None]") -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        loop = getattr(task.get_coro(), "__qualname__", "")
        log.error("background_work_ended", loop=loop, exc_info=error)


@contextmanager
def carry_on(event: str, count: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keeps what fails in the block from ending the loop around it.

    Args:
        event: it is logged as this: a :class:`Problem`, which is expected, by its words; anything else whole.
        count: called when it fails.
    """
    try:
        yield
    except Problem as problem:
        count()
        log.warning(event, error=str(problem))
    except Exception:
        count()
        log.exception(event)
