"""Bots: the accepted tokens, and what Telegram stores for each bot."""

import asyncio
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from services.telegram_sandbox import errors
from services.telegram_sandbox.state.update_queue import UpdateQueue

TOKEN_SHAPE = re.compile(r"[1-9][0-9]{0,15}:[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Webhook:
    """The URL to which updates are posted, instead of waiting for getUpdates."""

    url: str
    secret_token: str = ""
    max_connections: int = 40
    ip_address: str = ""


@dataclass(slots=True)
class WebhookState:
    """The delivery errors that getWebhookInfo returns."""

    last_error_at: float | None = None
    last_error: str = ""
    gone_since: float | None = None  #: start of the current series of 410 answers


@dataclass(slots=True)
class Bot:
    """One bot. If it is `revoked`, its token is invalid; if it is `frozen`, its methods fail."""

    token: str
    id: int
    queue: UpdateQueue
    revoked: bool = False
    frozen: bool = False
    webhook: Webhook | None = None
    webhook_state: WebhookState = field(default_factory=WebhookState)
    next_set_webhook_at: float = 0.0
    commands: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    active: int = 0  #: requests in progress
    poll: "asyncio.Future[errors.BotApiError | None] | None" = None  #: the waiting long poll
    next_conflict_at: float = 0.0
    last_offset: int | None = None
    last_poll_at: float = 0.0
    last_answer_at: float = 0.0
    billed: list[int] = field(default_factory=list)  #: time of each paid message

    @property
    def username(self) -> str:
        return f"sandbox_{self.id}_bot"

    def user(self) -> dict[str, Any]:
        return {"id": self.id, "is_bot": True, "first_name": "CCTelegram", "username": self.username}


class Bots:
    """Bots by token."""

    def __init__(self, tokens: Iterable[str], now: float) -> None:
        self._by_token: dict[str, Bot] = {}
        for token in tokens:
            self.add(token, now)

    def __iter__(self) -> Iterator[Bot]:
        return iter(self._by_token.values())

    def add(self, token: str, now: float) -> Bot:
        """Adds a token. Its update ids start at the seconds since 1970, so a new sandbox never reuses ids.

        Raises:
            ValueError: it does not have the form of a token.
        """
        if not TOKEN_SHAPE.fullmatch(token):
            raise ValueError(f"not a bot token: {token[:8]}… (expected <number>:<letters, digits, _ or ->)")
        bot = Bot(token, int(token.partition(":")[0]), UpdateQueue(int(now)))
        return self._by_token.setdefault(token, bot)

    def by_id(self, bot_id: int) -> Bot | None:
        return next((bot for bot in self if bot.id == bot_id), None)

    def authorize(self, token: str) -> Bot:
        """Returns the bot of the token in a request's path.

        Raises:
            BotApiError: 404 if it does not have the form of a token, 401 if it is unknown or revoked.
        """
        bot = self._by_token.get(token)
        if bot is not None and not bot.revoked:
            return bot
        if bot is None and not TOKEN_SHAPE.fullmatch(token):
            raise errors.BotApiError(404, "Not Found")
        raise errors.BotApiError(401, "Unauthorized")
