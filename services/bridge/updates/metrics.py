"""Metrics of Telegram updates: bounded labels, every series from the start."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.updates.parse import KINDS, OTHER


class Age(Collector):
    """Seconds since each bot last received updates from Telegram; no sample before the first time."""

    def __init__(self) -> None:
        self.measure: Callable[[], Mapping[str, float | None]] = dict

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "cctelegram_telegram_updates_last_success_age_seconds",
            "Time since Telegram last answered a poll for updates or called the webhook",
            labels=["bot"],
        )
        for bot, age in self.measure().items():
            if age is not None:
                family.add_metric([bot], age)
        yield family


class ActiveUsers(Collector):
    """People who used the bot by a button, a text or a command; no sample before the first count."""

    def __init__(self) -> None:
        self.daily: int | None = None
        self.monthly: int | None = None

    def collect(self) -> Iterator[Metric]:
        daily = GaugeMetricFamily("daily_active_users", "People who used the bot in the last 24 hours")
        monthly = GaugeMetricFamily("monthly_active_users", "People who used the bot in the last 30 days")
        for family, people in ((daily, self.daily), (monthly, self.monthly)):
            if people is not None:
                family.add_metric([], people)
            yield family


class UpdateMetrics:
    """Counts of stored, failed, unreadable and unauthorised updates.

    Args:
        registry: of the service.
        bots: the names of all bots.
    """

    def __init__(self, registry: CollectorRegistry, bots: Iterable[str]) -> None:
        self.updates = Counter(
            "cctelegram_telegram_updates", "Telegram updates stored, by kind", ["kind"], registry=registry
        )
        self.conflicts = Counter(
            "cctelegram_telegram_update_conflicts",
            "Polls refused because another program receives updates of the same bot",
            ["bot"],
            registry=registry,
        )
        for bot in bots:
            self.conflicts.labels(bot)
        self.failed = Counter(
            "cctelegram_telegram_update_failures",
            "Updates set aside because handling them failed",
            registry=registry,
        )
        self.unreadable = Counter(
            "cctelegram_telegram_updates_unreadable",
            "Telegram updates left without effect because a field is missing, of the wrong type or too large",
            registry=registry,
        )
        self.strangers = Counter(
            "cctelegram_unauthorised_updates",
            "Updates from people who are not allowed to use the bot, by kind",
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
