"""The next step of a message: what one call to its recipient does. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from services.outbox.messages import Claimed, Rendered

Render = Callable[[Claimed], Rendered]


@dataclass(frozen=True, slots=True)
class Step:
    """The call that a sender makes next for a message.

    Args:
        message: as it is sent: an edit that does not fit goes as a new message.
        rendered: its content.
        total: the calls that deliver the whole message.
        method: of the Bot API, a metric label; None: the call goes elsewhere.
    """

    message: Claimed
    rendered: Rendered
    total: int = 1
    method: str | None = None
