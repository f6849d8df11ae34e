"""The cost of paid broadcasting in Telegram Stars, read from the bot's transactions."""

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
#: Transactions that Telegram returns per call.
PAGE = 100
NANO = 1_000_000_000


class Costs:
    """Counts the Stars that are billed from the start of this process on.

    Args:
        paying: the bots that may pay, by name.
        metrics: of the costs; each replica counts all of them.
    """

    def __init__(self, paying: Mapping[str, Bot], metrics: CostMetrics) -> None:
        self._paying = paying
        self._metrics = metrics
        #: The number of known transactions of each bot; they come oldest first and are never removed.
        self._known: dict[str, int] = {}

    async def run(self) -> None:
        """Counts until cancelled."""
        while True:
            for name in self._paying:
                with suppress_and_log("costs_unknown"):
                    await self._poll(name)
            await asyncio.sleep(EVERY_SECONDS)

    async def _poll(self, name: str) -> None:
        try:
            await self.once(name)
        except TelegramError as error:
            # The missing transactions are counted when Telegram answers again.
            log.warning("costs_unknown", bot=name, error=redact(str(error.message)))

    async def once(self, name: str) -> None:
        """Reads the new transactions of a bot; the first time only to find where counting begins."""
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
    """The Stars that a transaction took for paid broadcasting; 0 for other transactions."""
    if (transaction.get("receiver") or {}).get("type") != "telegram_api":
        return 0.0
    return float(transaction["amount"] + transaction.get("nanostar_amount", 0) / NANO)
