"""docs/client.md: its example runs, and its tables are complete."""

import asyncio
import inspect
import re
from pathlib import Path

import pytest

from services.client import errors
from services.client.api import Api
from services.client.settings import ClientSettings
from tests.bridge.people import ADA, Bridge, People
from tests.servers import KEY

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text()


async def test_the_example_runs(talk: Bridge, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CCT_URL", str(talk.client.base_url))
    monkeypatch.setenv("CCT_API_KEY", KEY)
    example = PAGE.split("```python\n")[1].split("```")[0]
    printed: list[tuple[object, ...]] = []

    def run() -> None:
        names = {"print": lambda *words: printed.append(words)}
        exec(compile(example, "docs/client.md", "exec"), names)  # noqa: S102 - the example of our own page

    running = asyncio.create_task(asyncio.to_thread(run))
    await people.tap(await people.question(ADA, "Deploy build 7?"), "Approve")
    await running
    assert printed[:2] == [(ADA, "delivered"), ("the answer is", "approve")]
    assert ("Build 7 is green",) in printed[2:]


def test_every_method_is_listed() -> None:
    listed = set(re.findall(r"`(\w+)`", PAGE.split("## Methods")[1].split("##")[0]))
    assert {name for name in vars(Api) if name[0] != "_"} - listed == set()


def test_every_exception_is_listed() -> None:
    names = {
        name
        for name, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, errors.ClientError)
    }
    assert {name for name in names if f"`{name}`" not in PAGE} == set()


def test_every_variable_is_named() -> None:
    names = {str(field.validation_alias) for field in ClientSettings.model_fields.values()}
    assert {name for name in names if f"`{name}`" not in PAGE} == set()
