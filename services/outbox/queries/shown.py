"""What a chat shows of our messages: the first one of an edited message, and whether it is deleted."""

from sqlalchemy import Connection, Row, or_, select

from services.outbox.messages import UNFINISHED, MessageState, Origin
from services.outbox.queries.message_rows import telegram_ids
from services.outbox.schema import digest, digest_member, event, message

#: States of a deletion that is made, or is to be.
_COUNTS = tuple(state.value for state in (*UNFINISHED, MessageState.DELIVERED))
_SHOWN = select(message.c.id, message.c.edits, message.c.telegram_message_ids)


def first_shown(connection: Connection, message_id: str) -> str:
    """Id of the message that was sent to the chat, of one that is it, or that edited it there."""
    row = connection.execute(_SHOWN.where(message.c.id == message_id)).one()
    while row.edits is not None and row.telegram_message_ids:
        earlier = connection.execute(_SHOWN.where(message.c.id == row.edits)).first()
        its = telegram_ids(row.telegram_message_ids)
        if earlier is None or telegram_ids(earlier.telegram_message_ids)[-1:] != its:
            break
        row = earlier
    return str(row.id)


def deletion_of(connection: Connection, message_id: str) -> str | None:
    """Id of the message that has deleted another one, or is to; None: it is not deleted."""
    query = (
        select(message.c.id)
        .join(event, message.c.event_id == event.c.id)
        .where(message.c.edits == message_id, event.c.origin == Origin.DELETION.value)
        .where(message.c.state.in_(_COUNTS))
    )
    return connection.execute(query.limit(1)).scalar()


def digest_of(connection: Connection, message_id: str) -> Row[tuple[str, str, float, str | None]] | None:
    """The digest that a message waits in, that shows it, or that it is: id, key, until, message_id."""
    joined = select(digest_member.c.digest_id).where(digest_member.c.message_id == message_id)
    query = select(digest.c.id, digest.c.key, digest.c.until, digest.c.message_id)
    return connection.execute(
        query.where(or_(digest.c.message_id == message_id, digest.c.id.in_(joined)))
    ).first()


def members_of(connection: Connection, digest_id: str) -> list[str]:
    """Ids of the messages of a digest, in the order of their acceptance."""
    query = (
        select(message.c.id)
        .join(digest_member, digest_member.c.message_id == message.c.id)
        .where(digest_member.c.digest_id == digest_id)
    )
    return list(connection.execute(query.order_by(message.c.seq)).scalars())
