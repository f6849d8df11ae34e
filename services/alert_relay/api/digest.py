"""The route of the digest."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query

from services.alert_relay.digest import weekly
from services.alert_relay.state import InjectedState
from services.contracts.digest import Digest
from services.contracts.fields import Moment
from services.kit.clock import rfc3339
from services.kit.errors import invalid_input

router = APIRouter(prefix="/api/v1/digest", tags=["incidents"])

WEEK_SECONDS = 7 * 86_400.0
LONGEST_SECONDS = 366 * 86_400.0


@router.get("")
async def get_digest(
    service: InjectedState,
    from_: Annotated[
        Moment | None, Query(alias="from", description="RFC 3339; default: a week before `until`")
    ] = None,
    until: Annotated[Moment | None, Query(description="RFC 3339; default: now")] = None,
) -> Digest:
    """Returns what was measured of a period, against the period of the same length before it.

    It is the text of the weekly digest (`ALERT_DIGEST`).
    """
    end = service.clock.time() if until is None else until.timestamp()
    begin = end - WEEK_SECONDS if from_ is None else from_.timestamp()
    if not 0 < end - begin <= LONGEST_SECONDS:
        fault = {"loc": ("query", "from"), "msg": "it lies before `until`, by at most 366 days"}
        raise invalid_input([fault | {"type": "value_error"}])
    text = await service.database.read("digest", partial(weekly.text_of, begin=begin, until=end))
    return Digest(begin=rfc3339(begin), until=rfc3339(end), text=text.text)
