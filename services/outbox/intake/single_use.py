"""Once: what may be taken a single time, kept in the transaction of what it brings.

A signature that was seen, a file that was read: the second submission with the same name is
refused, in any replica and after any crash.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, tuple_

from services.kit.database.connect import upsert
from services.kit.errors import Problem
from services.outbox.messages import Submission
from services.outbox.schema import once


class RepeatedError(Problem):
    """It was taken before: nothing was stored now."""

    def __init__(self) -> None:
        super().__init__(409, "Repeated", "This very request was taken before; nothing was stored again.")


def claim(connection: Connection, submissions: Sequence[Submission], now: float) -> list[Problem | None]:
    """Takes the names of submissions; answers for each whether it was taken before."""
    wanted = {(s.single_use.scope, s.single_use.name) for s in submissions if s.single_use}
    if not wanted:
        return [None] * len(submissions)
    rows = [{"scope": scope, "name": name, "at": now} for scope, name in sorted(wanted)]
    insert = upsert(connection, once).on_conflict_do_nothing().values(rows)
    fresh = {(row.scope, row.name) for row in connection.execute(insert.returning(once.c.scope, once.c.name))}
    verdicts: list[Problem | None] = []
    for s in submissions:
        name = (s.single_use.scope, s.single_use.name) if s.single_use else None
        verdicts.append(None if name is None or name in fresh else RepeatedError())
        # Of two that come together the first is the first.
        fresh.discard(name or ("", ""))
    return verdicts


def forget(
    connection: Connection, scope: str, names: Iterable[str] | None = None, *, before: float | None = None
) -> None:
    """Lets names be taken again: those, or all of a scope that are older than a time."""
    if names is not None:
        listed = tuple_(once.c.scope, once.c.name).in_([(scope, name) for name in names])
        connection.execute(delete(once).where(listed))
    if before is not None:
        connection.execute(delete(once).where(once.c.scope == scope, once.c.at < before))
