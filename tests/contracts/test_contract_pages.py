"""docs/contracts.md and docs/intake.md list every model, every posted field and every event type."""

import importlib
import inspect
import json
import pkgutil
import re
from enum import Enum
from pathlib import Path

import pytest
from pydantic import BaseModel

from services import contracts
from services.bridge.events import addressed
from services.contracts.approvals import Cancel, Decide, NewApproval
from services.contracts.events import CATEGORIES, NewEvent
from services.kit.errors import Problem

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "contracts.md").read_text()
SENDING = (DOCS / "intake.md").read_text()
MODELS = sorted(
    {
        name
        for found in pkgutil.iter_modules(contracts.__path__)
        for module in [importlib.import_module(f"services.contracts.{found.name}")]
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and issubclass(kind, BaseModel | Enum) and name[0] != "_"
    }
)


def test_every_model_is_listed() -> None:
    assert len(MODELS) > 50
    assert [name for name in MODELS if f"`{name}`" not in PAGE] == []


@pytest.mark.parametrize("model", [NewEvent, NewApproval, Decide, Cancel])
def test_every_posted_field_is_listed(model: type[BaseModel]) -> None:
    row = next(line for line in PAGE.splitlines() if f"`{model.__name__}`" in line)
    assert [field for field in model.model_fields if f"`{field}`" not in row] == []


def test_the_types_are_listed_by_category() -> None:
    listed = dict(re.findall(r"^\| (\w+) \| (`\w+`.*) \|$", SENDING, re.MULTILINE))
    assert {name: tuple(re.findall(r"`(\w+)`", listed[name])) for name in CATEGORIES} == CATEGORIES


def test_the_example_of_an_error_is_real() -> None:
    shown = json.loads(SENDING.split("```json\n")[1].split("```")[0])
    with pytest.raises(Problem) as refused:
        addressed.parse(b'{"type": "git_commit", "title": "x"}')
    assert json.loads(bytes(refused.value.response().body)) == shown
