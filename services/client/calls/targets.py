"""Calls of alert-relay: list the targets of notifications, and test one."""

from dataclasses import replace

from services.client import call
from services.client.call import Call, Service
from services.contracts.targets import TargetList, TargetTest, TargetTested


def targets() -> Call[TargetList]:
    """Lists the targets of the settings, with what each answered last."""
    return call.get(TargetList, "/api/v1/targets", {}, service=Service.ALERT_RELAY)


def test_target(target: str) -> Call[TargetTested]:
    """Sends a marked message to one target.

    Args:
        target: such as ``email:ada@example.com``.
    """
    posted = call.post(TargetTested, "/api/v1/targets/test", TargetTest(target=target))
    return replace(posted, service=Service.ALERT_RELAY)
