"""Replay protection: names that can be used once, stored in the transaction of the submission.

The name is that of a signature or a file. A second submission with the same name is refused, by every
replica and after a crash.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, select, tuple_

from services.kit.database.connect import upsert
from services.kit.errors import Problem
from services.outbox.messages import Submission
from services.outbox.schema import once


class RepeatedError(Problem):
    """The name was used before: nothing is stored."""

    def __init__(self) -> None:
        super().__init__(409, "Repeated", "This very request was taken before; nothing was stored again.")


def use(connection: Connection, submissions: Sequence[Submission], now: float) -> list[Problem | None]:
    """Uses the names of submissions up; returns for each None, or the problem that its name was used."""
    names = {(s.single_use.scope, s.single_use.name) for s in submissions if s.single_use}
    if not names:
        return [None] * len(submissions)
    rows = [{"scope": scope, "name": name, "at": now} for scope, name in sorted(names)]
    insert = upsert(connection, once).on_conflict_do_nothing().values(rows)
    fresh = {(row.scope, row.name) for row in connection.execute(insert.returning(once.c.scope, once.c.name))}
    problems: list[Problem | None] = []
    for s in submissions:
        name = (s.single_use.scope, s.single_use.name) if s.single_use else None
        problems.append(None if name is None or name in fresh else RepeatedError())
        # Of two submissions with one name in this call the first is stored.
        fresh.discard(name or ("", ""))
    return problems


def is_used(connection: Connection, scope: str, name: str) -> bool:
    """Whether a name was used."""
    found = select(once.c.at).where(once.c.scope == scope, once.c.name == name)
    return connection.execute(found).first() is not None


def delete_names(
    connection: Connection, scope: str, names: Iterable[str] | None = None, *, before: float | None = None
) -> None:
    """Deletes names, so that they can be used again.

    Args:
        connection: in a transaction.
        scope: of the names.
        names: which; unset: none.
        before: all of the scope that were used before this time, seconds since the epoch; unset: none.
    """
    if names is not None:
        listed = tuple_(once.c.scope, once.c.name).in_([(scope, name) for name in names])
        connection.execute(delete(once).where(listed))
    if before is not None:
        connection.execute(delete(once).where(once.c.scope == scope, once.c.at < before))
