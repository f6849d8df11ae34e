"""What paid broadcasting costs, in Stars: as Telegram has billed it, read from the bot's transactions."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from telegram.error import TelegramError

from services.bridge.metrics import CostMetrics
from services.kit.background import suppress_and_log
from services.kit.logs import redact
from services.outbox.telegram.bot_api import Bot

log = structlog.get_logger()

EVERY_SECONDS = 60.0
#: The most that Telegram answers at once.
PAGE = 100
NANO = 1_000_000_000


class Costs:
    """Counts what is billed from now on; what was billed before is not this process's to tell.

    Args:
        paying: the bots that may pay, by name.
        metrics: where it is counted. Each replica counts all of it.
    """

    def __init__(self, paying: Mapping[str, Bot], metrics: CostMetrics) -> None:
        self._paying = paying
        self._metrics = metrics
        #: How many transactions of each bot are known; they are told oldest first, and none goes away.
        self._known: dict[str, int] = {}

    async def run(self) -> None:
        """Counts until cancelled."""
        while True:
            for name in self._paying:
                with suppress_and_log("costs_unknown"):
                    await self._look(name)
            await asyncio.sleep(EVERY_SECONDS)

    async def _look(self, name: str) -> None:
        try:
            await self.once(name)
        except TelegramError as error:
            # What is missing now is counted when Telegram answers again.
            log.warning("costs_unknown", bot=name, error=redact(str(error.message)))

    async def once(self, name: str) -> None:
        """Reads on from what is known of a bot; the first time only to know where to begin."""
        begins = name not in self._known
        known = self._known.get(name, 0)
        while True:
            page = await self._paying[name].call("getStarTransactions", {"offset": known, "limit": PAGE})
            transactions = page["transactions"]
            known += len(transactions)
            if not begins:
                self._metrics.cost.labels(name).inc(sum(map(stars, transactions)))
                self._known[name] = known
            if len(transactions) < PAGE:
                break
        self._known[name] = known


def stars(transaction: Mapping[str, Any]) -> float:
    """The Stars that a transaction took for paid broadcasting; 0 where it is of another kind."""
    if (transaction.get("receiver") or {}).get("type") != "telegram_api":
        return 0.0
    return float(transaction["amount"] + transaction.get("nanostar_amount", 0) / NANO)
