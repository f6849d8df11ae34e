"""One by one: settles and claims messages in transactions of their own, after a batch of them failed.

A row that cannot be read, or a value that cannot be written, fails the transaction of all messages of a
batch. Here it fails alone: its message ends with the reason ``unprocessable``, and the others go on. If its
result cannot be written, it is a dead letter, marked as a possible duplicate if the attempt may have arrived.
If it cannot be claimed, it is unknown if an earlier attempt may have arrived, and else a dead letter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy import Connection, select

from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.database.interface import StoreUnavailableError, UnitOfWork
from services.outbox.chats import chat_queue, message_changes
from services.outbox.delivery import claimed_rows, claims, ready_chats, settlement
from services.outbox.delivery.claims import ClaimedBatch
from services.outbox.delivery.fair_queue import FairQueue
from services.outbox.delivery.plan import ChatRules
from services.outbox.messages import (
    WAITING,
    Claimed,
    Decision,
    MessageState,
    Outcome,
    Reason,
    Result,
    Settled,
)
from services.outbox.rate_limit.bot_rate_limiter import Granted, LimitedSince
from services.outbox.rate_limit.limits import Limits
from services.outbox.schema import message

T = TypeVar("T")
log = structlog.get_logger()

#: Seconds after which a chat is claimed again whose message could not be processed.
PARK_SECONDS = 1.0
#: Longest error that is stored with a message, characters.
LONGEST_ERROR = 500


@dataclass(frozen=True, slots=True)
class OneByOne:
    """Settles and claims for one worker.

    Args:
        database: of the queue.
        clock: the time.
        owner: the worker's name on its leases.
        limits: Telegram's rates for chats.
    """

    database: Database
    clock: Clock
    owner: str
    limits: Limits

    async def settle(self, one: Settled) -> tuple[Settled, set[int]]:
        """Settles a result as it is; without the chat's release, if that fails; else as unprocessable.

        Returns:
            The result as it was written; and its message's number, if another worker has taken it over.

        Raises:
            StoreUnavailableError: the database is down; the result may be settled again.
        """
        now, m = self.clock.time(), one.message
        whole = partial(settlement.settle, owner=self.owner, settled=[one], limits=self.limits, now=now)
        lost, error = await self._try("settle", whole)
        if lost is not None:
            return one, lost
        for instead in (one, unprocessable(one, error)):
            _, again = await self._try("settle", partial(self._write_and_park, one=instead, now=now))
            if again is None:
                return instead, set()
        end = partial(self._end, bot=m.bot, chat_id=m.chat_id, seqs=[m.seq], cause=_text_of(error), now=now)
        await self._try("settle", end)
        return unprocessable(one, error), set()

    def _write_and_park(self, connection: Connection, *, one: Settled, now: float) -> None:
        settlement.write(connection, [one], now)
        self._park(connection, one.message.bot, one.message.chat_id, now)

    def _park(self, connection: Connection, bot: str, chat_id: int, now: float) -> None:
        chat_queue.park(connection, bot, self.owner, chat_id, now + PARK_SECONDS)

    async def claim(
        self,
        bot: str,
        granted: Granted,
        *,
        paced_since: LimitedSince,
        fair_queue: FairQueue,
        rules: ChatRules,
    ) -> ClaimedBatch:
        """Claims the next message of each ready chat, each chat by itself.

        Args:
            bot: whose chats.
            granted: how many messages may go now.
            paced_since: since when the bot's rate has delayed messages.
            fair_queue: the clients' clocks of the worker.
            rules: for muted chats and quiet hours.

        Raises:
            StoreUnavailableError: the database is down; leases of this worker may be left without an attempt.
        """
        now = self.clock.time()
        lease = partial(ready_chats.lease, bot=bot, owner=self.owner, limit=granted.free, paid=granted.paid)
        chat_ids, next_at = await self.database.write("claim", partial(lease, now=now, fair_queue=fair_queue))
        messages: list[Claimed] = []
        ended: list[Settled] = []
        for chat_id in chat_ids:
            opened = partial(claims.open_attempts, bot=bot, owner=self.owner, chat_ids=[chat_id], now=now)
            batch, error = await self._try("claim", partial(opened, paced_since=paced_since, rules=rules))
            if batch is not None:
                messages += batch.messages
                ended += batch.ended
            else:
                ended += await self._end_next(bot, chat_id, _text_of(error))
        return ClaimedBatch(messages, now if chat_ids else next_at, ended)

    async def _end_next(self, bot: str, chat_id: int, cause: str) -> list[Settled]:
        """Ends the message that would go next in a chat whose claim failed."""
        now = self.clock.time()
        seq, _ = await self._try("claim", partial(claims.next_of, bot=bot, chat_id=chat_id, now=now))
        seqs = None if seq is None else [seq]
        end = partial(self._end, bot=bot, chat_id=chat_id, seqs=seqs, cause=cause, now=now)
        ended, _ = await self._try("claim", end)
        return ended or []

    async def take_over(
        self, bot: str, chat_id: int, work: UnitOfWork[list[Settled]], states: Sequence[MessageState]
    ) -> list[Settled]:
        """Runs the work that takes over a chat of this owner; if it fails, ends the oldest open message.

        Args:
            bot: whose chat.
            chat_id: which chat.
            work: returns the settled messages.
            states: of the message that is ended.
        """
        settled, error = await self._try("take_over", work)
        if settled is not None:
            return settled
        now = self.clock.time()
        end = partial(self._end, bot=bot, chat_id=chat_id, states=states, cause=_text_of(error), now=now)
        ended, _ = await self._try("take_over", end)
        return ended or []

    def _end(
        self,
        connection: Connection,
        *,
        bot: str,
        chat_id: int,
        cause: str,
        now: float,
        seqs: Sequence[int] | None = None,
        states: Sequence[MessageState] = WAITING,
    ) -> list[Settled]:
        """Ends messages of a chat, and its lease; unless they are named, the oldest in one of the states."""
        self._park(connection, bot, chat_id, now)
        ending = _oldest(connection, bot, chat_id, states) if seqs is None else seqs
        state, reason = MessageState.DEAD_LETTER, Reason.UNPROCESSABLE
        message_changes.finish(connection, ending, state, reason, cause=cause, now=now)
        rows = claimed_rows.by_seq(connection, ending)
        return [
            claims.ended(claimed_rows.claimed(row, now, 0.0, row.attempts), state, reason, now)
            for row in rows
        ]

    async def _try(self, operation: str, work: UnitOfWork[T]) -> tuple[T | None, Exception | None]:
        """Returns the result of a unit of work, or its error."""
        try:
            return await self.database.write(operation, work), None
        except StoreUnavailableError:
            raise
        except Exception as error:
            log.exception("message_unprocessable", operation=operation)
            return None, error


def unprocessable(one: Settled, error: Exception | None) -> Settled:
    """The end of a message whose result cannot be written: a dead letter, marked unless it was not sent."""
    arrived = one.result.outcome is not Outcome.NOT_SENT
    m = one.message
    result = Result(
        one.result.outcome,
        Reason.UNPROCESSABLE,
        one.result.started_at,
        one.result.finished_at,
        detail=_text_of(error),
    )
    decision = Decision(
        MessageState.DEAD_LETTER,
        retries=m.retries,
        part=m.part,
        possible_duplicate=m.possible_duplicate or arrived,
        plain=m.plain,
        resends=m.resends,
    )
    return replace(one, result=result, decision=decision)


def _text_of(error: Exception | None) -> str:
    # PostgreSQL stores no NUL.
    return f"{type(error).__name__}: {error}"[:LONGEST_ERROR].replace("\0", "")


def _oldest(connection: Connection, bot: str, chat_id: int, states: Sequence[MessageState]) -> list[int]:
    in_states = message.c.state.in_([state.value for state in states])
    query = select(message.c.seq).where(message.c.bot == bot, message.c.chat_id == chat_id, in_states)
    return list(connection.execute(query.order_by(message.c.seq).limit(1)).scalars())
