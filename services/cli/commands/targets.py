"""``cct targets``: list where alerts may go, and send a test there."""

from datetime import datetime
from typing import Annotated

import typer

from services.cli import times
from services.cli.command import command, group
from services.cli.session import Session
from services.contracts.targets import NotificationTarget

targets = group("targets", "List where alerts may go, and send a test there.")


@command(targets, "list", "cct targets list")
def list_(session: Session) -> None:
    """List the targets of alert-relay, with what each answered last."""
    found = session.client.targets().targets
    if session.output.json:
        session.output.records(found)
        return
    now = session.now
    session.output.table(
        ("target", "gets", "last receipt", "last failure"),
        [
            (
                each.target,
                "all alerts" if each.all_alerts else "",
                times.local(each.last_receipt.at, now) if each.last_receipt else "",
                _failure(each, now),
            )
            for each in found
        ],
    )


@command(targets, "test", "cct targets test telegram:1001")
def test(
    session: Session,
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="Such as email:ada@example.com or slack:operations.")
    ],
) -> None:
    """Send a marked message to one target."""
    tested = session.client.test_target(target)
    if session.output.json:
        session.output.record(tested)
    else:
        session.output.table(("message", "target"), [(tested.message_id, tested.target)])


def _failure(each: NotificationTarget, now: datetime) -> str:
    failed = each.last_failure
    return "" if failed is None else f"{times.local(failed.at, now)} {failed.reason}"
