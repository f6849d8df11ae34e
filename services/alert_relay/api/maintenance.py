"""The routes of maintenance windows."""

import asyncio
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Query
from uuid_utils import uuid7

from services.alert_relay.incidents.incident import Actor, ActorKind
from services.alert_relay.maintenance import store, window
from services.alert_relay.maintenance.window import MaintenanceWindow as Window
from services.alert_relay.maintenance.window import WantedWindow, WindowError
from services.alert_relay.state import InjectedState, RelayState
from services.contracts.incidents import Actor as ActorView
from services.contracts.maintenance import (
    MaintenanceWindow,
    MaintenanceWindowList,
    NewMaintenanceWindow,
)
from services.contracts.stored import from_row
from services.kit.clock import rfc3339
from services.kit.errors import Problem, invalid_input
from services.kit.web.openapi import problems

router = APIRouter(prefix="/api/v1/maintenance-windows", tags=["maintenance"])

_NO_WINDOW = problems({404: "no window has this id"})


@router.get("")
async def list_windows(
    service: InjectedState,
    state: Literal["open", "ended"] = "open",
    limit: Annotated[int, Query(ge=1, le=200)] = 200,
) -> MaintenanceWindowList:
    """Lists the windows that are active or planned, or those that are over, the last first."""
    found = await service.database.read(
        "maintenance", lambda c: store.open_windows(c) if state == "open" else store.ended(c, limit)
    )
    now = service.clock.time()
    return MaintenanceWindowList(windows=[_view(each, now) for each in found[:limit]])


@router.post(
    "",
    status_code=201,
    responses=problems(
        {
            409: "too many windows are active or planned",
            422: "the input is invalid: one entry a field; or the Idempotency-Key was used with another body",
        }
    ),
)
async def create_window(
    new: NewMaintenanceWindow,
    service: InjectedState,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            description="a repetition with the same key and body returns the same window",
            examples=["deploy-2.1"],
        ),
    ] = None,
) -> MaintenanceWindow:
    """Begins or plans a window: people are not notified of the alerts that it matches.

    Their incidents open all the same, and are shown. When the window ends, what still fires is news.
    """
    now = service.clock.time()
    wanted = await asyncio.to_thread(_planned, new, now)
    created = await service.database.write(
        "maintenance", partial(store.create, wanted=wanted, key=idempotency_key)
    )
    if created is None:
        raise Problem(409, "Conflict", f"{store.MOST_WINDOWS} windows are active or planned; end some first.")
    if not created.same:
        raise Problem(422, "Idempotency-Key reused", "This Idempotency-Key was used with another body.")
    return _view(created.window, now)


@router.get("/{window_id}", responses=_NO_WINDOW)
async def get_window(window_id: UUID, service: InjectedState) -> MaintenanceWindow:
    """Returns one window."""
    return _view(await _found(service, window_id), service.clock.time())


@router.post("/{window_id}/end", responses=_NO_WINDOW)
async def end_window(window_id: UUID, service: InjectedState) -> MaintenanceWindow:
    """Ends what is active of a window; a recurring one begins again at its next occurrence.

    A repetition changes nothing. A planned window that does not recur never begins.
    """
    return await _end(service, window_id, for_good=False)


@router.delete("/{window_id}", responses=_NO_WINDOW)
async def delete_window(window_id: UUID, service: InjectedState) -> MaintenanceWindow:
    """Ends a window for good, also a recurring one. A repetition changes nothing."""
    return await _end(service, window_id, for_good=True)


def _planned(new: NewMaintenanceWindow, now: float) -> Window:
    """Returns the window; a rule may take a part of a second."""
    wanted = WantedWindow(
        matchers=new.matchers,
        name=new.name,
        cluster=new.cluster,
        starts_at=None if new.starts_at is None else new.starts_at.timestamp(),
        ends_at=None if new.ends_at is None else new.ends_at.timestamp(),
        seconds=new.lasts,
        rule=new.rule,
        zone=new.zone,
        spares_urgent=new.spares_urgent,
        reason=new.reason,
    )
    try:
        return window.plan(wanted, str(uuid7()), Actor(ActorKind.API, new.by), now)
    except WindowError as error:
        fault = {"loc": ("body", error.field), "msg": error.reason, "type": "value_error"}
        raise invalid_input([fault]) from None


async def _found(service: RelayState, window_id: UUID) -> Window:
    found = await service.database.read("maintenance", partial(store.one, window_id=str(window_id)))
    if found is None:
        raise Problem(404, "Not Found", f"There is no maintenance window {window_id}.")
    return found


async def _end(service: RelayState, window_id: UUID, *, for_good: bool) -> MaintenanceWindow:
    found = await _found(service, window_id)
    await service.relay.end_window(found, for_good=for_good)
    return _view(await _found(service, window_id), service.clock.time())


def _view(each: Window, now: float) -> MaintenanceWindow:
    by = each.created_by
    return from_row(
        MaintenanceWindow,
        id=each.id,
        name=each.name,
        state=each.state(now).value,
        matchers=[str(one) for one in each.matchers],
        cluster=each.cluster,
        starts_at=rfc3339(each.starts_at),
        ends_at=rfc3339(each.ends_at),
        rule=each.rule,
        zone=each.zone,
        spares_urgent=each.spares_urgent,
        created_by=ActorView(kind=by.kind.value, name=by.name, user_id=by.user_id),
        created_at=rfc3339(each.created_at),
        ended_at=None if each.ended_at is None else rfc3339(each.ended_at),
        reason=each.reason,
    )
