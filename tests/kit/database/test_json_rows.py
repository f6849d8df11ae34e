"""Statements for many rows: every kind of value there and back, on both databases."""

from pathlib import Path

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Double,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    text,
)

from services.kit.database.connect import Database
from services.kit.database.json_rows import Row, Statement, insert_by_place

KINDS = {
    "number": "bigint",
    "small": "smallint",
    "real": "double precision",
    "said": "text",
    "flag": "boolean",
}
COLUMNS = ", ".join(f"{name} {kind}" for name, kind in KINDS.items())
VALUES = ", ".join(f"given.{name}" for name in KINDS)
ADD = Statement("INSERT INTO kept SELECT " + VALUES + " FROM {given}", **KINDS)  # noqa: S608 - constants
CHANGE = Statement(
    "UPDATE kept SET said = given.said || :more FROM {given} WHERE kept.number = given.number"
    " RETURNING kept.number",
    number="bigint",
    said="text",
)
OTHERS = Statement(
    "SELECT number FROM kept WHERE NOT number {among} ORDER BY number {lock}",
    number="bigint",
)
FREE = Statement(
    "SELECT number FROM kept WHERE number {among} ORDER BY number {skip_locked}",
    number="bigint",
)
ROWS: list[Row] = [
    (1, 0, 0.0, "", False),
    (-(2**53), -1, -1.5, 'it\'s "quoted" \\ and :more {given}', True),
    (2**53, 2, 1_763_708_580.123_457, "line\nend\t\u2028 é 😀", None),
    (4, None, 1e-9, None, True),
    (5, 3, 1e300, "[1, 2]", False),
]


def _made(connection: Connection) -> None:
    connection.execute(text(f"CREATE TABLE kept ({COLUMNS})"))
    ADD.run(connection, ROWS)


def _all(connection: Connection) -> list[tuple[object, ...]]:
    return [tuple(row) for row in connection.execute(text("SELECT * FROM kept ORDER BY number"))]


async def test_values_come_back_as_they_went(database: Database) -> None:
    await database.write("read", _made)
    assert await database.read("read", _all) == sorted(ROWS, key=lambda row: row[0] or 0)


async def test_one_statement_changes_many_and_says_which(database: Database) -> None:
    def work(connection: Connection) -> tuple[list[int], list[object]]:
        changed = CHANGE.run(connection, [(1, "one"), (5, "five"), (99, "nobody")], more="!").scalars().all()
        return sorted(changed), [row[3] for row in _all(connection) if row[0] in {1, 4, 5}]

    await database.write("read", _made)
    assert await database.write("read", work) == ([1, 5], ["one!", None, "five!"])


async def test_no_rows_are_an_empty_table(database: Database) -> None:
    await database.write("read", _made)
    everyone = await database.write("read", lambda c: OTHERS.run(c, []).scalars().all())
    assert everyone == sorted(row[0] for row in ROWS if isinstance(row[0], int))
    assert await database.write("read", lambda c: CHANGE.run(c, [], more="").all()) == []


async def test_what_is_found_can_be_locked(database: Database) -> None:
    await database.write("read", _made)
    assert await database.write("read", lambda c: FREE.run(c, [(4,), (5,), (6,)]).scalars().all()) == [4, 5]


async def test_rows_by_place_get_the_defaults_of_what_they_do_not_name(tmp_path: Path) -> None:
    table = Table(
        "kept",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("said", Text, nullable=False, default="it's :more"),
        Column("flag", Boolean, nullable=False, default=False),
        Column("real", Double),
    )
    engine = create_engine(f"sqlite:///{tmp_path / 'kept.db'}")
    with engine.begin() as connection:
        table.create(connection)
        insert_by_place(connection, table, [{"real": 0.5, "id": 2}, {"real": None, "id": 3}])
        insert_by_place(connection, table, [{"id": 1, "said": 'so "it" is', "flag": True}])
        rows = connection.execute(table.select().order_by(table.c.id)).all()
    assert [tuple(row) for row in rows] == [
        (1, 'so "it" is', True, None),
        (2, "it's :more", False, 0.5),
        (3, "it's :more", False, None),
    ]
