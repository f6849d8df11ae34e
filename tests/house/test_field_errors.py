"""Every error that a model of a request can raise says in plain words what to write."""

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, TypeAdapter, ValidationError

from services import contracts
from services.contracts.fields import Strict
from services.kit import field_errors
from tests.house.test_bounds import SERVICES

#: Values that some field refuses: each type, each edge, each form.
ODD: tuple[object, ...] = (
    *(None, True, False, 0, -1, 0.5, 2**80, -(2**80), float("nan"), float("inf"), 1e308),
    *(
        "",
        " ",
        "x",
        "yes",
        "@chan",
        "a\0b",
        "\ud800",
        "1.5",
        "x" * 200_000,
        "https://",
        "2026-13-01T00:00:00Z",
    ),
    *("2026-01-31T08:00:00", "2026-01-31", b"x", [], [[]], [None] * 1_001, ["x", "x"], ["a\0"], [0], [{}]),
    *({}, {"x": 1}, {1: 1}, {"from": "07:00", "to": "07:00"}, {"text": 1}),
)


def contract_models() -> list[type[BaseModel]]:
    modules = [
        import_module(f"{contracts.__name__}.{found.name}") for found in iter_modules(contracts.__path__)
    ]
    found = {
        model
        for module in modules
        for _, model in inspect.getmembers(module, inspect.isclass)
        if issubclass(model, BaseModel)
    }
    return sorted(found - {BaseModel, Strict}, key=lambda model: model.__name__)


def inputs(folder: Path) -> Iterator[tuple[str, Any]]:
    """The body, and each parameter, of every route of every service."""
    for service, make in SERVICES.items():
        for route in iter_route_contexts(make(folder / service).routes):
            body = getattr(route, "body_field", None)
            if body is not None:
                yield f"{service} {route.path}", body.field_info.annotation
            dependants = [route.dependant] if hasattr(route, "dependant") else []
            while dependants:
                one = dependants.pop()
                dependants += one.dependencies
                for field in (*one.path_params, *one.query_params, *one.header_params):
                    yield f"{service} {route.path} {field.alias}", field._type_adapter


def refusals(shape: Any, samples: tuple[object, ...]) -> Iterator[tuple[dict[str, Any], object]]:
    adapter = shape if isinstance(shape, TypeAdapter) else TypeAdapter(shape)
    for sample in samples:
        try:
            adapter.validate_python(sample)
        except ValidationError as error:
            yield from ((dict(fault), sample) for fault in error.errors(include_url=False))


def assert_plain(where: str, shape: Any, samples: tuple[object, ...]) -> None:
    for fault, given in refusals(shape, samples):
        kind = fault["type"]
        known = kind in field_errors.KINDS or kind in field_errors.FAULTS or kind in field_errors.OWN_WORDS
        assert known, (where, fault)
        if kind == "string_pattern_mismatch":
            assert fault["ctx"]["pattern"] == field_errors.NO_NUL, (
                where,
                fault["loc"],
                "give it ErrorText(...)",
            )
        for entry in field_errors.entries([fault], shape, given):
            assert kind in field_errors.OWN_WORDS or entry["msg"] != fault["msg"], (where, fault)
            assert "Input should" not in entry["msg"], (where, fault)
            for step in entry["loc"]:
                assert not set(str(step)) & set("[](),"), (where, entry)


@pytest.mark.parametrize("model", contract_models(), ids=lambda model: model.__name__)
def test_no_contract_answers_in_a_validators_own_words(model: type[BaseModel]) -> None:
    names = [info.alias or name for name, info in model.model_fields.items()]
    assert_plain(model.__name__, model, ODD)
    assert_plain(model.__name__, model, tuple({name: odd} for name in names for odd in ODD))


def test_no_body_and_no_parameter_of_a_service_does(tmp_path: Path) -> None:
    found = list(inputs(tmp_path))
    assert len(found) > 100
    for where, shape in found:
        assert_plain(where, shape, ODD)
        if isinstance(shape, type) and issubclass(shape, BaseModel):
            names = [info.alias or name for name, info in shape.model_fields.items()]
            assert_plain(where, shape, tuple({name: odd} for name in names for odd in ODD))


def test_a_flag_of_a_body_is_true_or_false_and_nothing_else(tmp_path: Path) -> None:
    bodies = {repr(shape): shape for where, shape in inputs(tmp_path) if where.count(" ") == 1}
    flags = 0
    for shape in (*bodies.values(), *contract_models()):
        if not (isinstance(shape, type) and issubclass(shape, BaseModel)):
            continue
        if not issubclass(shape, Strict) and shape in contract_models():
            continue  # an answer of ours
        for name, info in shape.model_fields.items():
            if info.annotation not in (bool, bool | None):
                continue
            flags += 1
            for given in (0, 1, 0.0, "yes", "true", "off"):
                with pytest.raises(ValidationError) as caught:
                    shape.model_validate({info.alias or name: given})
                wrong = [fault for fault in caught.value.errors() if fault["loc"][-1] == (info.alias or name)]
                assert [field_errors.message(fault) for fault in wrong] == ["write true or false"], (
                    shape,
                    name,
                )
    assert flags > 5
