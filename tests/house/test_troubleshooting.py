"""docs/troubleshooting.md names states, reasons and settings as the code spells them."""

import re
from pathlib import Path

from services.outbox.messages import MessageState, Reason

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def _first_column(heading: str) -> list[str]:
    table = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    return [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_every_state_without_a_delivery_is_explained() -> None:
    delivered = {MessageState.DELIVERED, MessageState.SENDING, MessageState.CANCELLED}
    assert set(_first_column("its state")) == {state.value for state in set(MessageState) - delivered}


def test_every_reason_exists() -> None:
    named = _first_column("reason")
    assert len(named) >= 8
    assert set(named) <= {reason.value for reason in Reason}
