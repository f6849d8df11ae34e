"""How a database would find what is asked of it."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, text


class Recording:
    """A connection that keeps what it was asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.asked: list[Any] = []

    def execute(self, query: Any, *args: Any) -> Any:
        self.asked.append(query)
        return self._connection.execute(query, *args)


def plan_of(connection: Connection, asks: Callable[..., object]) -> str:
    """The plans of all that a function asks of the connection; in a transaction, whose settings change."""
    postgresql = connection.dialect.name == "postgresql"
    recording = Recording(connection)
    asks(recording)
    if postgresql:
        # On few rows reading all of them is cheapest; on a million it is not.
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        connection.execute(text("SET LOCAL enable_bitmapscan = off"))
    lines: list[str] = []
    for query in recording.asked:
        sql = str(query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
        rows: Sequence[Any]
        rows = connection.exec_driver_sql(("EXPLAIN " if postgresql else "EXPLAIN QUERY PLAN ") + sql).all()
        lines += [str(row[0] if postgresql else row[3]) for row in rows]
    return "\n".join(lines)
