"""What a worker needs of that which sends its messages: a bot of Telegram, or another channel."""

from typing import Protocol, Self

from services.outbox.messages import Claimed, Reason, Rendered, Result
from services.outbox.messages.step import Render, Step
from services.outbox.telegram.answers import Me


class MessageSender(Protocol):
    """Sends the messages of one worker; it is opened and closed with the engine."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def check(self) -> Me | Reason | None:
        """Returns why it is refused, else the bot; None: it is no bot. A worker that was stopped tries it."""

    def step(self, message: Claimed, render: Render) -> Step:
        """Returns the next step of a message. Whatever it raises ends the message as not rendered."""

    async def send(self, message: Claimed, rendered: Rendered) -> Result:
        """Makes a step. What it raises counts as an unknown outcome."""
