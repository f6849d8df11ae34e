"""Rates over what finished; nothing is made up where nothing did."""

from services.outbox.queries.rolling_counts import HOUR, Quantiles, Tally
from tests.outbox.making import NOW


def test_nothing_finished_has_no_rate_and_no_latency() -> None:
    tally = Tally()
    tally.accepted(NOW, 5)
    assert tally.delivery_rate_percent(NOW) is None
    assert tally.quantiles() is None
    assert Tally().per_second(NOW) == (0.0, 0.0)


def test_the_delivery_rate_is_delivered_of_finished() -> None:
    tally = Tally()
    for _ in range(3):
        tally.delivered(NOW, 0.1)
    tally.failed(NOW + 1)
    assert tally.delivery_rate_percent(NOW + 1) == 75.0


def test_an_hour_later_it_is_forgotten() -> None:
    tally = Tally()
    tally.failed(NOW)
    tally.delivered(NOW + HOUR - 1, 0.1)
    assert tally.delivery_rate_percent(NOW + HOUR - 1) == 50.0
    assert tally.delivery_rate_percent(NOW + HOUR) == 100.0
    assert tally.delivery_rate_percent(NOW + 2 * HOUR) is None


def test_rates_are_of_the_last_whole_minute_without_the_second_under_way() -> None:
    tally = Tally()
    for second in range(120):
        tally.accepted(NOW + second, 2)
        tally.delivered(NOW + second, 0.1)
    assert tally.per_second(NOW + 119.5) == (2.0, 1.0)


def test_a_clock_that_goes_back_counts_in_the_last_second() -> None:
    tally = Tally()
    tally.delivered(NOW, 0.1)
    tally.failed(NOW - 30)
    assert tally.delivery_rate_percent(NOW) == 50.0


def test_quantiles_are_of_the_recent_deliveries() -> None:
    tally = Tally()
    for hundredth in range(100):
        tally.delivered(NOW, hundredth / 100)
    assert tally.quantiles() == Quantiles(0.5, 0.95, 0.99)


def test_one_delivery_is_every_quantile() -> None:
    tally = Tally()
    tally.delivered(NOW, 3.0)
    assert tally.quantiles() == Quantiles(3.0, 3.0, 3.0)


def test_the_hour_before_the_start_is_restored_and_nothing_counts_twice() -> None:
    tally = Tally()
    tally.delivered(NOW, 0.1)
    at = int(NOW)
    tally.restore([(at - HOUR, 9, 9), (at - 10, 1, 1), (at, 1, 0), (at + 1, 1, 0)])
    assert tally.delivery_rate_percent(NOW) == 200 / 3


def test_a_restored_hour_stands_alone_where_nothing_happened_yet() -> None:
    tally = Tally()
    tally.restore([(int(NOW) - 5, 3, 1)])
    assert tally.delivery_rate_percent(NOW) == 75.0
