"""The numbers by which the outbox knows targets that are no chats of Telegram.

The outbox counts, orders and limits messages by chat, and the id of a chat is a number. The number of a
target never changes: the messages of the outbox refer to it.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, select

from services.alert_relay.channels.target import Target
from services.alert_relay.schema import target
from services.kit.database.connect import upsert

#: The name in the outbox of what sends to these targets, beside the bots of Telegram.
CHANNELS_BOT = "channels"


def ids(connection: Connection, targets: Iterable[Target]) -> Mapping[Target, int]:
    """Returns the numbers of targets; one that has none yet gets one.

    Args:
        connection: in a transaction that may write.
        targets: that are no chats of Telegram.
    """
    wanted = {str(each): each for each in targets}
    found = _known(connection, wanted)
    # In one order, so that two transactions do not wait for each other.
    if missing := sorted(wanted.keys() - {str(each) for each in found}):
        statement = upsert(connection, target).on_conflict_do_nothing(index_elements=[target.c.text])
        connection.execute(statement, [{"text": text} for text in missing])
        found = _known(connection, wanted)
    return found


def of_id(connection: Connection, number: int) -> Target | None:
    """Returns the target with a number; None: no target has it."""
    text = connection.execute(select(target.c.text).where(target.c.id == number)).scalar()
    return None if text is None else Target.parse(text)


def _known(connection: Connection, wanted: Mapping[str, Target]) -> dict[Target, int]:
    if not wanted:
        return {}
    rows = connection.execute(select(target).where(target.c.text.in_(list(wanted))))
    return {wanted[row.text]: row.id for row in rows}
