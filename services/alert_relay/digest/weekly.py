"""Sends the digest once a week, through restarts and by one of several replicas."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from services.alert_relay.digest import figures, words
from services.alert_relay.digest_time import DigestTime
from services.alert_relay.notifications import announcement
from services.alert_relay.schema import weekly_digest
from services.kit.database.connect import upsert
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import Submission, Text


def text_of(connection: Connection, begin: float, until: float, zone: str = "UTC") -> Text:
    """Returns the digest of a period, against the period of the same length before it."""
    now = figures.measure(connection, begin, until)
    before = figures.measure(connection, begin - (until - begin), begin)
    return words.digest(now, before, begin, until, zone)


def is_due(connection: Connection, when: DigestTime, now: float) -> bool:
    """Whether the digest of the last week was not sent yet."""
    newest: float | None = connection.execute(select(func.max(weekly_digest.c.until))).scalar()
    return newest is None or newest < when.last(now)[1]


def send(
    connection: Connection, when: DigestTime, chat_ids: Sequence[int], trace: TraceContext, now: float
) -> list[Submission]:
    """Enqueues the digest of the last week, unless it was before.

    The first time it only notes the week: a relay that is new, or whose digest was just switched on, begins
    with the week that goes on.

    Args:
        connection: in a transaction.
        when: it is due.
        chat_ids: of the chats that get it.
        trace: of the message.
        now: seconds since the epoch.
    """
    if not is_due(connection, when, now):
        return []
    begin, until = when.last(now)
    is_first = connection.execute(select(func.count()).select_from(weekly_digest)).scalar_one() == 0
    statement = upsert(connection, weekly_digest).values(until=until, sent_at=now)
    inserted = connection.execute(statement.on_conflict_do_nothing(index_elements=[weekly_digest.c.until]))
    if inserted.rowcount != 1 or is_first:
        return []
    text = text_of(connection, begin, until, when.zone)
    return [announcement.announce(connection, "weekly digest", text, chat_ids, trace=trace, now=now)]
