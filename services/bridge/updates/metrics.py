"""What is counted of updates: bounded labels, every series there from the start."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.bridge.updates.parse import KINDS, OTHER


class Age(Collector):
    """Seconds since each bot last heard from Telegram; no sample of one that never did."""

    def __init__(self) -> None:
        self.measure: Callable[[], Mapping[str, float | None]] = dict

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "cctelegram_telegram_updates_last_success_age_seconds",
            "Since updates were last heard of, by polling or as a webhook",
            labels=["bot"],
        )
        for bot, age in self.measure().items():
            if age is not None:
                family.add_metric([bot], age)
        yield family


class ActiveUsers(Collector):
    """People who tapped, wrote or commanded; no sample before they were counted."""

    def __init__(self) -> None:
        self.daily: int | None = None
        self.monthly: int | None = None

    def collect(self) -> Iterator[Metric]:
        daily = GaugeMetricFamily("daily_active_users", "People who used the bot, last 24 hours")
        monthly = GaugeMetricFamily("monthly_active_users", "People who used the bot, last 30 days")
        for family, people in ((daily, self.daily), (monthly, self.monthly)):
            if people is not None:
                family.add_metric([], people)
            yield family


class UpdateMetrics:
    """What is counted of updates.

    Args:
        registry: of the service.
        bots: the names of all of them.
    """

    def __init__(self, registry: CollectorRegistry, bots: Iterable[str]) -> None:
        self.updates = Counter("cctelegram_telegram_updates", "Updates stored", ["kind"], registry=registry)
        self.conflicts = Counter(
            "cctelegram_telegram_update_conflicts",
            "Times that another program received this bot's updates",
            ["bot"],
            registry=registry,
        )
        for bot in bots:
            self.conflicts.labels(bot)
        self.failed = Counter(
            "cctelegram_telegram_update_failures", "Updates put aside after acting failed", registry=registry
        )
        self.strangers = Counter(
            "cctelegram_unauthorised_updates",
            "Updates of people who may not talk to the bot",
            ["kind"],
            registry=registry,
        )
        for kind in (*KINDS, OTHER):
            self.updates.labels(kind)
            self.strangers.labels(kind)
        self.age = Age()
        registry.register(self.age)
        self.active_users = ActiveUsers()
        registry.register(self.active_users)
