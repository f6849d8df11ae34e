"""Writes odd values into the rows of a database, and reads what a service makes of them.

PostgreSQL takes the extremes of each type; SQLite takes any type in any column.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Boolean, Column, Connection, Double, Integer, SmallInteger, String, Table, select, text

from services.kit.database.connect import Database

TEXTS = (
    "",
    "zz",
    "0",
    "[",
    "[]",
    "{}",
    "null",
    "7",
    '"x"',
    "[7]",
    '[["a"]]',
    "1,zz,2",
    "9" * 30,
    "9" * 5_000,
    "[" * 2_000,
    '{"a":' * 300 + "1" + "}" * 300,
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{ZERO WIDTH SPACE}\N{GRINNING FACE}",
    "'; DROP TABLE message; --",
    "2026-01-01T00:00:00Z",
)
NUMBERS = (
    0.0,
    -1.0,
    -1e300,
    1e300,
    1e12,
    -1e12,
    253_402_300_800.0,
    float("inf"),
    float("-inf"),
    float("nan"),
)
_BITS = {SmallInteger: 16, Integer: 32}


def odd_values(column: Column[Any], dialect: str) -> list[Any]:
    """The values that a test writes into a column."""
    kind = type(column.type)
    bits = next((bits for base, bits in _BITS.items() if kind is base), 64)
    ends = [0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))]
    nothing = [None] if column.nullable else []
    if dialect == "sqlite":
        numbers = [number for number in NUMBERS if number == number]  # noqa: PLR0124 - NaN is null there
        # SQLite makes a number of a text in a column of numbers, where it can.
        return [*nothing, *ends, 2**63 - 1, -(2**63), *numbers, *TEXTS, b"\xff\x00"]
    if isinstance(column.type, Boolean):
        return [*nothing, True, False]
    if isinstance(column.type, String):
        longest = column.type.length or 10**9
        return [*nothing, *(one for one in TEXTS if len(one) <= longest)]
    return [*nothing, *(NUMBERS if isinstance(column.type, Double) else ends)]


@dataclass(frozen=True)
class Change:
    """A column of a table's row that gets an odd value."""

    table: Table
    column: str
    value: Any

    def __repr__(self) -> str:
        return f"{self.table.name}.{self.column} = {self.value!r:.60}"


def changes(tables: Sequence[Table], dialect: str) -> list[Change]:
    """Every change of a column that is no key."""
    return [
        Change(table, column.name, value)
        for table in tables
        for column in table.columns
        if not (column.primary_key or column.foreign_keys)
        for value in odd_values(column, dialect)
    ]


def apply(connection: Connection, made: Sequence[Change]) -> list[tuple[Table, dict[str, Any]]]:
    """Makes changes in all rows of their tables, but for unique columns; returns the rows as they were."""
    before = [
        (table, dict(row))
        for table in dict.fromkeys(one.table for one in made)
        for row in connection.execute(select(text("*")).select_from(table)).mappings()
    ]
    for one in made:
        where = _first_row(one.table) if _is_unique(one.table, one.column) else ""
        statement = text(f"UPDATE {one.table.name} SET {one.column} = :value {where}")  # noqa: S608 - names of the schema
        connection.execute(statement, {"value": one.value})
    return before


def _first_row(table: Table) -> str:
    keys = ", ".join(column.name for column in table.primary_key)
    return f"WHERE ({keys}) IN (SELECT {keys} FROM {table.name} ORDER BY {keys} LIMIT 1)"  # noqa: S608 - names of the schema


def _is_unique(table: Table, column: str) -> bool:
    in_index = any(index.unique and column in index.columns for index in table.indexes)
    return bool(table.columns[column].unique) or in_index


def restore(connection: Connection, before: Sequence[tuple[Table, dict[str, Any]]]) -> None:
    """Writes rows as they were."""
    for table, row in before:
        keys = [column.name for column in table.primary_key]
        values = ", ".join(f"{name} = :{name}" for name in row)
        where = " AND ".join(f"{name} = :{name}" for name in keys)
        connection.execute(text(f"UPDATE {table.name} SET {values} WHERE {where}"), row)  # noqa: S608 - names of the schema


async def for_each(
    database: Database,
    possible: Sequence[Change],
    read: Callable[[], Awaitable[list[str]]],
    *,
    examples: int,
) -> int:
    """Makes one to three changes at a time, and reads.

    Args:
        database: whose rows are changed, and restored after each reading.
        possible: changes.
        read: reads everything; returns what failed.
        examples: how many.

    Returns:
        How many examples were tried.
    """
    loop, number = asyncio.get_running_loop(), 0

    async def one(made: Sequence[Change]) -> list[str]:
        before = await database.write("odd", partial(apply, made=made))
        try:
            return await read()
        finally:
            await database.write("odd", partial(restore, before=before))

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.sampled_from(possible), min_size=1, max_size=3))
    def each(made: Sequence[Change]) -> None:
        nonlocal number
        number += 1
        failed = asyncio.run_coroutine_threadsafe(one(made), loop).result(60)
        assert not failed, f"{list(made)}: {failed}"

    await asyncio.to_thread(each)
    return number
