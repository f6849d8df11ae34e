"""One statement for many rows, on SQLite and PostgreSQL: they travel as one JSON parameter.

A statement for each row costs several times what the database does with it, and so does an
`IN (…)` that has another number of parameters each time: this one is prepared once.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import orjson
from sqlalchemy import Connection, CursorResult, Table, TextClause, literal, text
from sqlalchemy.dialects.sqlite import dialect as sqlite
from sqlalchemy.sql.schema import ScalarElementColumnDefault

Row = Sequence[int | float | str | bool | None]


class Statement:
    """SQL in which ``{given}`` is a table named ``given``, of the rows that it is run with.

    Args:
        sql: that both dialects understand. ``x {among}`` is true where x is one of the first column's values:
            PostgreSQL looks each of them up in an index then, whatever it thinks of the tables' sizes.
            ``{lock}`` at the end locks what is found, ``{skip_locked}`` passes over what is locked; SQLite
            has one writer, and nothing to lock.
        columns: names of the rows' values, in their order, and PostgreSQL's types of them.
    """

    def __init__(self, sql: str, **columns: str) -> None:
        self._sqlite = _sqlite(sql, columns)
        self._postgresql = _postgresql(sql, columns)

    def run(self, connection: Connection, rows: Iterable[Row], **parameters: Any) -> CursorResult[Any]:
        """Executes it.

        Args:
            connection: in a transaction.
            rows: of the values; there may be none.
            parameters: that it has beside the rows.
        """
        given = orjson.dumps(list(rows)).decode()
        return connection.execute(self.of(connection), {"given": given, **parameters})

    def of(self, connection: Connection) -> TextClause:
        """As this connection's database understands it; the rows are its parameter ``given``, as JSON."""
        return self._postgresql if connection.dialect.name == "postgresql" else self._sqlite


def _sqlite(sql: str, columns: dict[str, str]) -> TextClause:
    values = ", ".join(f"value ->> {place} AS {name}" for place, name in enumerate(columns))
    given = f"(SELECT {values} FROM json_each(:given)) AS given"  # noqa: S608 - names of the code
    among = f"IN (SELECT {_first(columns)} FROM {given})"  # noqa: S608 - names of the code
    return text(sql.format(given=given, among=among, lock="", skip_locked=""))


def _postgresql(sql: str, columns: dict[str, str]) -> TextClause:
    values = ", ".join(
        f"CAST(value ->> {place} AS {kind}) AS {name}" for place, (name, kind) in enumerate(columns.items())
    )
    given = f"(SELECT {values} FROM jsonb_array_elements(CAST(:given AS jsonb))) AS given"  # noqa: S608 - names of the code
    among = f"= ANY (ARRAY(SELECT {_first(columns)} FROM {given}))"  # noqa: S608 - names of the code
    locks = {"lock": "FOR UPDATE", "skip_locked": "FOR UPDATE SKIP LOCKED"}
    return text(sql.format(given=given, among=among, **locks))


def _first(columns: dict[str, str]) -> str:
    return f"given.{next(iter(columns))}"


def insert_by_place(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """`INSERT` on SQLite, by the places of the values, as its driver takes them.

    SQLAlchemy's reading of each row, by name and type, costs as much as SQLite does with it.

    Args:
        connection: in a transaction.
        table: what a row does not name gets the default of its column.
        rows: at least one; all of the same names in the same order, and of values that SQLite has.
    """
    connection.exec_driver_sql(_by_place(table, tuple(rows[0])), [tuple(row.values()) for row in rows])


@cache
def _by_place(table: Table, names: tuple[str, ...]) -> str:
    written = dict.fromkeys(names, "?")
    for column in table.columns:
        if column.name not in written and isinstance(column.default, ScalarElementColumnDefault):
            written[column.name] = _literal(column.default.arg)
    return f"INSERT INTO {table.name} ({', '.join(written)}) VALUES ({', '.join(written.values())})"  # noqa: S608 - names of the code


def _literal(value: object) -> str:
    return str(literal(value).compile(dialect=sqlite(), compile_kwargs={"literal_binds": True}))
