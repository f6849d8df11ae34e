"""Reply targets: the messages that claimed messages answer, by Telegram's ids."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, or_, select

from services.outbox.delivery.plan import Answers
from services.outbox.messages import Claimed
from services.outbox.queries import message_rows
from services.outbox.schema import message


def resolved(connection: Connection, messages: Sequence[Claimed], answers: Answers) -> list[Claimed]:
    """The messages with Telegram's ids of what they answer in the same chat.

    A message whose target is not in its chat is sent without a reply.

    Args:
        connection: in a transaction.
        messages: that are claimed.
        answers: names what a message answers.
    """
    named = {one.seq: name for one in messages if not one.part and (name := answers(one)) is not None}
    if not named:
        return list(messages)
    names = sorted(set(named.values()))
    query = (
        select(
            *(message.c.id, message.c.event_id, message.c.bot, message.c.chat_id),
            message.c.telegram_message_ids,
        )
        .where(or_(message.c.id.in_(names), message.c.event_id.in_(names)))
        .where(message.c.telegram_message_ids != "")
    )
    found: dict[tuple[str, str, int], int] = {}
    for row in connection.execute(query):
        for first in message_rows.telegram_ids(row.telegram_message_ids)[:1]:
            found[row.id, row.bot, row.chat_id] = found[row.event_id, row.bot, row.chat_id] = first
    return [
        replace(one, reply_to=found.get((named[one.seq], one.bot, one.chat_id))) if one.seq in named else one
        for one in messages
    ]
