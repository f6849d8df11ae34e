"""The routes of dead letters: notifications that did not arrive, and their replay."""

from functools import partial
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy import Connection

from services.alert_relay.channels import store as channel_store
from services.alert_relay.channels.store import CHANNELS_BOT
from services.alert_relay.channels.target import Target
from services.alert_relay.state import InjectedState
from services.contracts.fields import LARGEST_INT, about
from services.contracts.incidents import DeadLetter, DeadLetterPage, Replayed, ReplayedOne
from services.contracts.stored import from_row
from services.kit.clock import rfc3339
from services.kit.errors import Problem
from services.kit.web.openapi import problems
from services.outbox.intake import cancel_replay, enqueue
from services.outbox.intake.cancel_replay import By
from services.outbox.messages import DESTINATION_REFUSES, MessageState
from services.outbox.queries import message_search, message_timeline
from services.outbox.queries.message_rows import AttemptRow
from services.outbox.queries.message_search import Search

router = APIRouter(prefix="/api/v1/dead-letters", tags=["dead letters"])

#: Messages that one transaction replays.
BATCH = 200
_BY = By("a caller of the API")
_ONE = problems({404: "no message has this id", 409: "the message arrived, is on its way, or was replaced"})


@router.get("")
async def list_dead_letters(
    service: InjectedState,
    state: Annotated[
        Literal["dead_letter", "suppressed", "unknown"],
        Query(
            description="dead_letter: given up; suppressed: not tried, since the chat has refused the bot;"
            " unknown: sent, and Telegram's answer is missing"
        ),
    ] = "dead_letter",
    cursor: Annotated[
        int | None, Query(ge=0, le=LARGEST_INT), about("`next_cursor` of the previous page", 17)
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> DeadLetterPage:
    """Lists notifications that did not arrive, newest first."""
    sought = _search(MessageState(state), cursor, limit)
    page, attempts, targets = await service.database.read("dead_letters", partial(_read, sought=sought))
    return DeadLetterPage(
        dead_letters=[
            from_row(
                DeadLetter,
                message_id=row["id"],
                incident_id=row["correlation_id"],
                title=row["title"],
                chat_id=row["chat_id"],
                target=targets.get((row["bot"], row["chat_id"]), str(Target.telegram(row["chat_id"]))),
                state=row["state"],
                reason=row["reason"],
                detail=attempts[row["seq"]]["detail"] if row["seq"] in attempts else "",
                accepted_at=rfc3339(row["accepted_at"]),
                attempts=row["attempts"],
            )
            for row in page.rows
        ],
        next_cursor=page.cursor,
    )


def _search(state: MessageState, before: int | None, limit: int) -> Search:
    """An edit that a later one replaced is suppressed too, and keeps nothing from people."""
    refused = sorted(reason.value for reason in DESTINATION_REFUSES)
    reasons = refused if state is MessageState.SUPPRESSED else []
    return Search(states=[state.value], reasons=reasons, before=before, limit=limit)


_Read = tuple[message_search.Page, dict[int, AttemptRow], dict[tuple[str, int], str]]


def _read(connection: Connection, sought: Search) -> _Read:
    """Returns messages, their last attempts, and the targets of those that do not go to Telegram."""
    page = message_search.search(connection, sought)
    attempts = message_timeline.last_attempts(connection, [row["seq"] for row in page.rows])
    numbers = {row["chat_id"] for row in page.rows if row["bot"] == CHANNELS_BOT}
    targets = {(CHANNELS_BOT, number): str(channel_store.of_id(connection, number)) for number in numbers}
    return page, attempts, targets


@router.post("/replay")
async def replay_all(service: InjectedState) -> Replayed:
    """Sends all dead letters again, except for messages of incidents that newer ones have replaced."""
    replayed, before = 0, None
    while True:
        sought = _search(MessageState.DEAD_LETTER, before, BATCH)
        page, *_ = await service.database.read("dead_letters", partial(_read, sought=sought))
        work = partial(
            cancel_replay.replay_all,
            seqs=[row["seq"] for row in page.rows],
            by=_BY,
            now=service.clock.time(),
            states=(MessageState.DEAD_LETTER,),
        )
        if page.rows:
            replayed += await service.database.write("dead_letters", work, notify=enqueue.CHANNEL)
        if page.cursor is None:
            return Replayed(replayed=replayed)
        before = page.cursor


@router.post("/{message_id}/replay", responses=_ONE)
async def replay(message_id: UUID, service: InjectedState) -> ReplayedOne:
    """Sends a notification again that did not arrive; also one whose chat has refused the bot."""
    work = partial(cancel_replay.replay, message_id=str(message_id), by=_BY, now=service.clock.time())
    result = await service.database.write("dead_letters", work, notify=enqueue.CHANNEL)
    if result is None:
        raise Problem(404, "Not Found", f"There is no message {message_id}.")
    if not result.done:
        why = "A later message has replaced it." if result.replaced else f"Its state is {result.state.value}."
        raise Problem(409, "Conflict", why, state=result.state.value)
    return ReplayedOne(message_id=str(message_id), state=result.state.value)
