"""The dry run of routes: whom an alert with some labels would notify, and when."""

from collections.abc import Sequence

from fastapi import APIRouter

from services.alert_relay.channels.target import Target
from services.alert_relay.on_call.policies import Level, Policies
from services.alert_relay.state import InjectedState
from services.contracts.on_call import RouteLevel, RoutePlan, RouteTest

router = APIRouter(prefix="/api/v1", tags=["on call"])


@router.post("/route-test")
async def test_route(test: RouteTest, service: InjectedState) -> RoutePlan:
    """Returns whom alerts with these labels would notify, and when; nothing is sent."""
    routes = service.relay.router
    name = routes.policy(test.labels)
    policy = routes.named(name) if isinstance(routes, Policies) else None
    levels = policy.levels if policy else (Level(0.0, routes.targets(name, 0, 0.0)),)
    return RoutePlan(
        policy=name or None,
        levels=[RouteLevel(after_seconds=each.after, targets=_texts(each.targets)) for each in levels],
        repeat_every_seconds=policy.repeat_every if policy else 0.0,
        repeat_times=policy.repeat_times if policy else 0,
        receipt_within_seconds=routes.receipt_seconds(name),
        fallback=_texts(routes.fallback(name)),
    )


def _texts(targets: Sequence[Target]) -> list[str]:
    return [str(each) for each in targets]
