import asyncio

import pytest

from services.kit.background import run_in_background, suppress_and_log
from services.kit.errors import Problem
from tests.kit.conftest import Lines


async def test_loops_run_while_the_block_does_and_have_ended_after_it() -> None:
    begun, ended = asyncio.Event(), []

    async def loop() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # what a loop tidies up is waited for
            ended.append("loop")

    async with run_in_background(loop(), loop()):
        await begun.wait()
        assert ended == []
    assert ended == ["loop", "loop"]


async def test_a_loop_that_fails_is_told_at_once_and_the_others_go_on(lines: Lines) -> None:
    told, others = asyncio.Event(), asyncio.Event()

    async def breaks() -> None:
        asyncio.get_running_loop().call_later(0.01, told.set)
        raise ZeroDivisionError("by nothing")

    async def goes_on() -> None:
        await told.wait()
        others.set()

    async with run_in_background(breaks(), goes_on()):
        await others.wait()
        (line,) = lines.all
        assert (line["event"], line["level"]) == ("background_task_failed", "error")
        assert line["loop"].endswith("breaks")
        assert "by nothing" in line["exception"]


async def test_the_loops_end_when_the_block_fails() -> None:
    cancelled = asyncio.Event()

    async def loop() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def fails() -> None:
        async with run_in_background(loop()):
            await asyncio.sleep(0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    assert cancelled.is_set()


@pytest.mark.parametrize(
    ("error", "level", "whole"),
    [(Problem(503, "Gone", "The store is gone."), "warning", False), (ZeroDivisionError("?"), "error", True)],
)
def test_what_fails_is_logged_and_counted_and_ends_nothing(
    error: Exception, level: str, whole: bool, lines: Lines
) -> None:
    counted: list[str] = []
    for _ in range(2):
        with suppress_and_log("step_failed", lambda: counted.append("failed")):
            raise error
    assert [(line["event"], line["level"]) for line in lines.all] == [("step_failed", level)] * 2
    assert ("exception" in lines.last) is whole
    assert counted == ["failed", "failed"]


def test_what_succeeds_is_neither_logged_nor_counted(lines: Lines) -> None:
    counted: list[str] = []
    with suppress_and_log("step_failed", lambda: counted.append("failed")):
        pass
    assert (lines.text, counted) == ("", [])


async def test_being_cancelled_is_no_failure(lines: Lines) -> None:
    async def step() -> None:
        with suppress_and_log("step_failed"):
            await asyncio.Event().wait()

    running = asyncio.create_task(step())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert lines.text == ""
