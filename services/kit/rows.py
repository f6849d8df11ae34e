"""One statement for many rows, on SQLite and PostgreSQL: they travel as one JSON parameter.

A statement for each row costs several times what the database does with it, and so does an
`IN (…)` that has another number of parameters each time: this one is prepared once.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, CursorResult, TextClause, text

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
