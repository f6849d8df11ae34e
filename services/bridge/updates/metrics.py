"""Metrics of people: bounded labels, every series from the start but the numbers of active users."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.updates.parse import KINDS, OTHER


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


class PeopleMetrics:
    """Active users, and updates of people who may not use the bot.

    Args:
        registry: of the service.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.strangers = Counter(
            "cctelegram_unauthorised_updates",
            "Updates from people who are not allowed to use the bot, by kind",
            ["kind"],
            registry=registry,
        )
        for kind in (*KINDS, OTHER):
            self.strangers.labels(kind)
        self.active_users = ActiveUsers()
        registry.register(self.active_users)
