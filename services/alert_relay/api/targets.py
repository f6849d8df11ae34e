"""The routes of targets: where notifications may go, what was answered last, and a test of one."""

from collections.abc import Sequence
from functools import partial

from fastapi import APIRouter
from sqlalchemy import Connection

from services.alert_relay.channels import receipts
from services.alert_relay.channels.receipts import LastAttempts
from services.alert_relay.channels.target import Target
from services.alert_relay.notifications.store import BOT
from services.alert_relay.state import InjectedState
from services.contracts.targets import (
    NotificationTarget,
    Receipt,
    TargetFailure,
    TargetList,
    TargetTest,
    TargetTested,
)
from services.kit.clock import rfc3339
from services.kit.errors import Problem
from services.kit.web.openapi import problems

router = APIRouter(prefix="/api/v1/targets", tags=["targets"])

_WRONG = problems({422: "the text is no target, or no setting describes it"})


@router.get("")
async def list_targets(service: InjectedState) -> TargetList:
    """Lists the targets of the settings, with what each answered last; secrets are left out."""
    everything = service.recipients.known()
    shown = tuple(dict.fromkeys((*everything, *service.channels.named)))
    found = await service.database.read("targets", partial(_read, targets=shown))
    return TargetList(
        targets=[_target(each, last, each in everything) for each, last in zip(shown, found, strict=True)]
    )


@router.post("/test", status_code=202, responses=_WRONG)
async def test_target(test: TargetTest, service: InjectedState) -> TargetTested:
    """Sends a marked message to one target, as every notification is sent: stored, and retried."""
    try:
        target = Target.parse(test.target)
        service.channels.check(target)
    except ValueError as error:
        errors = [{"loc": ["body", "target"], "msg": str(error)}]
        raise Problem(422, "Unprocessable Content", "The target is not valid.", errors=errors) from None
    message_id = await service.relay.test(target)
    return TargetTested(message_id=message_id, target=str(target))


def _read(connection: Connection, targets: Sequence[Target]) -> list[LastAttempts]:
    return [receipts.read(connection, each, BOT) for each in targets]


def _target(target: Target, last: LastAttempts, all_alerts: bool) -> NotificationTarget:
    taken, failed = last.taken, last.failed
    return NotificationTarget(
        target=str(target),
        all_alerts=all_alerts,
        last_receipt=None if taken is None else Receipt(at=rfc3339(taken.at), detail=taken.detail),
        last_failure=None
        if failed is None
        else TargetFailure(at=rfc3339(failed.at), reason=failed.reason, detail=failed.detail),
    )
