"""The cost of paid broadcasting in Telegram Stars, read from the bot's transactions."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from telegram.error import TelegramError

from services.bridge.metrics import CostMetrics
from services.kit.background import suppress_and_log
from services.kit.logs import redact
from services.outbox.telegram import values
from services.outbox.telegram.bot_api import Bot
from services.outbox.telegram.errors import BadAnswerError

log = structlog.get_logger()

EVERY_SECONDS = 60.0
#: Transactions that Telegram returns per call.
PAGE = 100
#: Pages that are read at once; the rest follows the next time.
MOST_PAGES = 1_000
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
        #: The bots whose earlier transactions are all known: further ones are counted.
        self._counting: set[str] = set()

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
        """Reads the new transactions of a bot; the first time only to find where counting begins.

        Raises:
            TelegramError: the call failed, or its answer has no transactions.
        """
        for _ in range(MOST_PAGES):
            known = self._known.get(name, 0)
            result = await self._paying[name].call("getStarTransactions", {"offset": known, "limit": PAGE})
            costs = costs_of(result)
            if name in self._counting:
                self._metrics.cost.labels(name).inc(sum(costs))
            self._known[name] = known + len(costs)
            if len(costs) < PAGE:
                self._counting.add(name)
                break


def costs_of(result: Any) -> list[float]:
    """The Stars of each transaction in a result of getStarTransactions.

    Raises:
        BadAnswerError: the result is none.
    """
    transactions = result.get("transactions") if isinstance(result, dict) else None
    if not isinstance(transactions, list):
        raise BadAnswerError("the answer to getStarTransactions has no transactions")
    return [_cost(transaction) for transaction in transactions[:PAGE]]


def _cost(transaction: Any) -> float:
    """As :func:`stars`; a transaction that cannot be read costs nothing, so that the others are counted."""
    try:
        return stars(transaction)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        log.warning("transaction_unreadable", error=f"{type(error).__name__}: {error}")
        return 0.0


def stars(transaction: Mapping[str, Any]) -> float:
    """The Stars that a transaction took for paid broadcasting; 0 for other transactions.

    Raises:
        ValueError: an amount is no number of Stars.
    """
    if (transaction.get("receiver") or {}).get("type") != "telegram_api":
        return 0.0
    whole = values.integer(transaction["amount"], 0, values.LARGEST_ID)
    return whole + values.integer(transaction.get("nanostar_amount", 0), 0, NANO) / NANO
