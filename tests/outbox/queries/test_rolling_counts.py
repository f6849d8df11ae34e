"""Rates over what finished; nothing is made up where nothing did."""

from services.outbox.queries.rolling_counts import HOUR, Quantiles, RollingCounts
from tests.outbox.making import NOW


def test_nothing_finished_has_no_rate_and_no_latency() -> None:
    counts = RollingCounts()
    counts.accepted(NOW, 5)
    assert counts.delivery_rate_percent(NOW) is None
    assert counts.quantiles() is None
    assert RollingCounts().per_second(NOW) == (0.0, 0.0)


def test_the_delivery_rate_is_delivered_of_finished() -> None:
    counts = RollingCounts()
    for _ in range(3):
        counts.delivered(NOW, 0.1)
    counts.failed(NOW + 1)
    assert counts.delivery_rate_percent(NOW + 1) == 75.0


def test_an_hour_later_it_is_forgotten() -> None:
    counts = RollingCounts()
    counts.failed(NOW)
    counts.delivered(NOW + HOUR - 1, 0.1)
    assert counts.delivery_rate_percent(NOW + HOUR - 1) == 50.0
    assert counts.delivery_rate_percent(NOW + HOUR) == 100.0
    assert counts.delivery_rate_percent(NOW + 2 * HOUR) is None


def test_rates_are_of_the_last_whole_minute_without_the_second_under_way() -> None:
    counts = RollingCounts()
    for second in range(120):
        counts.accepted(NOW + second, 2)
        counts.delivered(NOW + second, 0.1)
    assert counts.per_second(NOW + 119.5) == (2.0, 1.0)


def test_a_clock_that_goes_back_counts_in_the_last_second() -> None:
    counts = RollingCounts()
    counts.delivered(NOW, 0.1)
    counts.failed(NOW - 30)
    assert counts.delivery_rate_percent(NOW) == 50.0


def test_quantiles_are_of_the_recent_deliveries() -> None:
    counts = RollingCounts()
    for hundredth in range(100):
        counts.delivered(NOW, hundredth / 100)
    assert counts.quantiles() == Quantiles(0.5, 0.95, 0.99)


def test_one_delivery_is_every_quantile() -> None:
    counts = RollingCounts()
    counts.delivered(NOW, 3.0)
    assert counts.quantiles() == Quantiles(3.0, 3.0, 3.0)


def test_the_hour_before_the_start_is_restored_and_nothing_counts_twice() -> None:
    counts = RollingCounts()
    counts.delivered(NOW, 0.1)
    at = int(NOW)
    counts.restore([(at - HOUR, 9, 9), (at - 10, 1, 1), (at, 1, 0), (at + 1, 1, 0)])
    assert counts.delivery_rate_percent(NOW) == 200 / 3


def test_a_restored_hour_stands_alone_where_nothing_happened_yet() -> None:
    counts = RollingCounts()
    counts.restore([(int(NOW) - 5, 3, 1)])
    assert counts.delivery_rate_percent(NOW) == 75.0
