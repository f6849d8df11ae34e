"""Statements over many rows, which are passed as one JSON parameter; for SQLite and PostgreSQL.

Such a statement is prepared once. One statement a row, or an ``IN (…)`` whose number of parameters varies,
costs several times as much as the database's own work.
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
    """SQL that reads the rows it is run with as a table named ``given``, written ``{given}``.

    Args:
        sql: valid in both dialects. ``x {among}`` is true where x is a value of the first column; it makes
            PostgreSQL use an index whatever its estimate of the tables' sizes. ``{lock}`` at the end locks
            the rows that are found, ``{skip_locked}`` skips those that are locked; SQLite, with one writer,
            needs no locks.
        columns: names of the columns of ``given``, in order, with their types of PostgreSQL.
    """

    def __init__(self, sql: str, **columns: str) -> None:
        self._sqlite = _sqlite(sql, columns)
        self._postgresql = _postgresql(sql, columns)

    def run(self, connection: Connection, rows: Iterable[Row], **parameters: Any) -> CursorResult[Any]:
        """Executes it.

        Args:
            connection: in a transaction.
            rows: one sequence of values a row; may be empty.
            parameters: the statement's other parameters.
        """
        given = orjson.dumps(list(rows)).decode()
        return connection.execute(self.of(connection), {"given": given, **parameters})

    def of(self, connection: Connection) -> TextClause:
        """Returns the SQL for the connection's dialect; its parameter ``given`` takes the rows as JSON."""
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
    """Inserts rows into SQLite by position, as its driver takes them.

    By name, SQLAlchemy's conversion of each row would cost as much as the insertion.

    Args:
        connection: in a transaction.
        table: a column that the rows do not name gets its default.
        rows: at least one; all with the same names in the same order, and with values of SQLite's types.
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
