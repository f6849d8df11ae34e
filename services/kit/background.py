"""Background tasks: they start and end with their service, and their failures are logged.

Also the name by which a task of this process leads among replicas.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import structlog
import uuid_utils

from services.kit.errors import Problem

log = structlog.get_logger()


@asynccontextmanager
async def run_in_background(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs coroutines as tasks for the length of the block; at its end they are cancelled and awaited.

    A task that fails before is logged at once, since nothing awaits it until then.
    """
    tasks = [asyncio.create_task(loop) for loop in loops]
    for task in tasks:
        task.add_done_callback(_log_failure)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _log_failure(task: "asyncio.Task[None]") -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        loop = getattr(task.get_coro(), "__qualname__", "")
        log.error("background_task_failed", loop=loop, exc_info=error)


@contextmanager
def suppress_and_log(event: str, count: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Logs an exception of the block and suppresses it, so that the loop around goes on.

    Args:
        event: name of the log event. A :class:`Problem` is expected and logged by its text alone; anything
            else with its traceback.
        count: called when the block fails.
    """
    try:
        yield
    except Problem as problem:
        count()
        log.warning(event, error=str(problem))
    except Exception:
        count()
        log.exception(event)


def instance_name() -> str:
    """A name that no other process has or had: host, process id and a new UUIDv7."""
    return f"{os.uname().nodename}-{os.getpid()}-{uuid_utils.uuid7()}"
