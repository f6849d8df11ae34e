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


class UpdateMetrics:
    """Counts of stored, failed and unreadable updates, and of conflicts with other programs.

    Args:
        registry: of the service.
        bots: the names of all bots.
    """

    def __init__(self, registry: CollectorRegistry, bots: Iterable[str]) -> None:
        self.updates = Counter(
            "cctelegram_telegram_updates", "Telegram updates stored, by kind", ["kind"], registry=registry
        )
        for kind in (*KINDS, OTHER):
            self.updates.labels(kind)
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
        self.age = Age()
        registry.register(self.age)
