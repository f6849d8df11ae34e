"""What was billed is counted once, from the start of the process on, and in Stars."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from telegram.error import TelegramError

from services.bridge.metrics import CostMetrics
from services.bridge.paid_broadcast import Costs, costs_of, stars
from services.kit.clock import SystemClock
from services.outbox.telegram.bot_api import make_bot
from services.outbox.telegram.errors import BadAnswerError
from services.outbox.telegram.sender import Sender
from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests.outbox.making import ADA
from tests.servers import Sandbox


@pytest.fixture
async def sender(sandbox: Sandbox) -> AsyncIterator[Sender]:
    await sandbox.limits(enabled=True, bot_per_second=1, hold_seconds=0, chat_burst=999)
    async with Sender(make_bot(DEFAULT_TOKEN, sandbox.url, 8), SystemClock()) as opened:
        yield opened


async def charged(sender: Sender, sandbox: Sandbox, number: int) -> int:
    """Sends messages that may be paid for; answers how many were, of all."""
    for n in range(number):
        text = {"chat_id": ADA, "text": str(n), "allow_paid_broadcast": True}
        await sender.bot.call("sendMessage", text)
    return sum(call.get("charged", False) for call in await sandbox.delivered())


async def test_what_is_billed_is_counted_once_and_what_was_before_is_not(
    sandbox: Sandbox, sender: Sender
) -> None:
    registry = CollectorRegistry()
    costs = Costs({"default": sender.bot}, CostMetrics(registry, ["default", "other"]))

    def counted(bot: str = "default") -> float | None:
        return registry.get_sample_value("message_cost_total", {"bot": bot})

    before = await charged(sender, sandbox, 130)
    assert before > 100
    await costs.once("default")
    assert (counted(), counted("other")) == (0.0, 0.0)
    after = await charged(sender, sandbox, 130)
    for _ in range(2):
        await costs.once("default")
        assert counted() == pytest.approx((after - before) / 10)


async def test_what_telegram_does_not_tell_now_is_counted_later(sandbox: Sandbox, sender: Sender) -> None:
    registry = CollectorRegistry()
    costs = Costs({"default": sender.bot}, CostMetrics(registry, ["default"]))
    await costs.once("default")
    number = await charged(sender, sandbox, 5)
    await sandbox.faults({"kind": "raw", "status": 502, "body": "", "methods": ["getStarTransactions"]})
    with pytest.raises(TelegramError):
        await costs.once("default")
    await costs.once("default")
    assert registry.get_sample_value("message_cost_total", {"bot": "default"}) == pytest.approx(number / 10)


@pytest.mark.parametrize(
    ("transaction", "cost"),
    [
        ({"amount": 3, "nanostar_amount": 500_000_000, "receiver": {"type": "telegram_api"}}, 3.5),
        ({"amount": 3, "receiver": {"type": "telegram_api"}}, 3.0),
        ({"amount": 50, "receiver": {"type": "fragment"}}, 0.0),
        ({"amount": 50, "source": {"type": "user"}}, 0.0),
    ],
)
def test_only_what_went_to_telegram_for_broadcasting_is_a_cost(
    transaction: dict[str, Any], cost: float
) -> None:
    assert stars(transaction) == cost


def test_a_transaction_that_cannot_be_read_costs_nothing_and_hides_no_other() -> None:
    receiver = {"type": "telegram_api"}
    odd: list[Any] = [7, None, {"receiver": 5}, {"receiver": receiver}]
    odd += [{"amount": amount, "receiver": receiver} for amount in (10**30, -1, "3", True, 1.5)]
    good = {"amount": 3, "receiver": receiver}
    assert costs_of({"transactions": [*odd, good]}) == [0.0] * len(odd) + [3.0]


@pytest.mark.parametrize("result", [None, [], {}, {"transactions": 7}, "x"])
def test_an_answer_without_transactions_is_a_bad_one(result: Any) -> None:
    with pytest.raises(BadAnswerError):
        costs_of(result)
