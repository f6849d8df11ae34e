"""Edit targets: the messages that claimed messages edit, and what is known of them in the chat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from services.outbox.delivery.plan import Target
from services.outbox.messages import MessageState, Outcome
from services.outbox.queries import message_rows
from services.outbox.schema import attempt, message


@dataclass(frozen=True, slots=True)
class EditTarget:
    """What an edit edits.

    Args:
        telegram_id: of the message in the chat; None: it is not known to be there, or cannot be replaced.
        target: the message.
    """

    telegram_id: int | None
    target: Target

    @property
    def unseen_copy(self) -> bool:
        """Whether a copy that cannot be edited may be in the chat, and its readers need the edit's text.

        The copies of an update key are older than the edit, and shown as such: above it.
        """
        return self.target.may_be_shown and not self.target.by_key


def read(connection: Connection, rows: Sequence[Any]) -> dict[int, EditTarget]:
    """What some of the rows edit, by the numbers of these rows."""
    edits = sorted(row.seq for row in rows if row.edits is not None)
    if not edits:
        return {}
    return {
        row.seq: EditTarget(
            _telegram_id(str(row.telegram_message_ids or ""), by_key=row.update_key is not None),
            Target(
                row.target,
                _STATES.get(row.state),
                by_key=row.update_key is not None,
                may_be_shown=row.state == MessageState.UNKNOWN.value or row.unknown is not None,
            ),
        )
        for row in connection.execute(_EDITED.where(message.c.seq.in_(edits)))
    }


def _telegram_id(ids: str, *, by_key: bool) -> int | None:
    """The message to edit: the last part, which has the buttons. A new state cannot replace several parts."""
    if not ids or (by_key and "," in ids):
        return None
    return next(reversed(message_rows.telegram_ids(ids)), None)


_STATES = {state.value: state for state in MessageState}
_target = message.alias("target")
#: An attempt at the target's last part, or at one that was to come, whose answer was lost.
_UNKNOWN_ATTEMPT = (
    select(attempt.c.number)
    .where(
        attempt.c.message_seq == _target.c.seq,
        attempt.c.outcome == Outcome.UNKNOWN.value,
        attempt.c.part >= _target.c.part - 1,
    )
    .limit(1)
    .scalar_subquery()
)
_EDITED = select(
    message.c.seq,
    message.c.update_key,
    _target.c.seq.label("target"),
    _target.c.state,
    _target.c.telegram_message_ids,
    _UNKNOWN_ATTEMPT.label("unknown"),
).join_from(message, _target, _target.c.id == message.c.edits, isouter=True)
