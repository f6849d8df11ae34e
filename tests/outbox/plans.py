"""The query plans of both databases."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, text


class Recording:
    """A connection that records its queries."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.queries: list[Any] = []

    def execute(self, query: Any, *args: Any) -> Any:
        self.queries.append(query)
        return self._connection.execute(query, *args)


def plan_of(connection: Connection, work: Callable[..., object]) -> str:
    """The plans of all queries that a function runs; in a transaction, whose settings it changes."""
    postgresql = connection.dialect.name == "postgresql"
    recording = Recording(connection)
    work(recording)
    if postgresql:
        # Reading all rows is cheapest for few rows, and not for a million.
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        connection.execute(text("SET LOCAL enable_bitmapscan = off"))
    lines: list[str] = []
    for query in recording.queries:
        sql = str(query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
        rows: Sequence[Any]
        rows = connection.exec_driver_sql(("EXPLAIN " if postgresql else "EXPLAIN QUERY PLAN ") + sql).all()
        lines += [str(row[0] if postgresql else row[3]) for row in rows]
    return "\n".join(lines)
