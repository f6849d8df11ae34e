"""Rates over what finished; without finished messages there is no rate."""

from services.outbox.queries.rolling_counts import HOUR, LastHour, Quantiles, RollingCounts, Second, quantiles

NOW = 1_000_000


def counted(*seconds: Second, now: float = NOW) -> LastHour:
    counts = RollingCounts()
    counts.replace(0, seconds)
    return counts.last_hour(now, ())


def test_nothing_finished_has_no_rate_and_no_latency() -> None:
    assert counted(Second(NOW, accepted=5)) == LastHour(0.0, 0.0, None, None)
    assert counted() == LastHour(0.0, 0.0, None, None)


def test_the_delivery_rate_is_delivered_of_finished() -> None:
    assert counted(Second(NOW - 1, delivered=3), Second(NOW, failed=1)).delivery_rate_percent == 75.0


def test_after_an_hour_a_count_is_dropped() -> None:
    counts = RollingCounts()
    counts.replace(0, [Second(NOW, failed=1), Second(NOW + HOUR - 1, delivered=1)])
    assert counts.last_hour(NOW + HOUR - 1, ()).delivery_rate_percent == 50.0
    assert counts.last_hour(NOW + HOUR, ()).delivery_rate_percent == 100.0
    assert counts.last_hour(NOW + 2 * HOUR, ()).delivery_rate_percent is None


def test_rates_are_of_the_last_whole_minute_without_the_current_second() -> None:
    seconds = [Second(NOW + second, accepted=2, delivered=1) for second in range(120)]
    hour = counted(*seconds, now=NOW + 119.5)
    assert (hour.accepted_per_second, hour.delivered_per_second) == (2.0, 1.0)


def test_seconds_that_are_read_again_are_not_counted_twice() -> None:
    counts = RollingCounts()
    counts.replace(NOW - HOUR, [Second(NOW - 20, failed=1), Second(NOW - 5, delivered=1)])
    counts.replace(NOW - 10, [Second(NOW - 5, delivered=2), Second(NOW - 1, delivered=1)])
    assert counts.last_hour(NOW, ()).delivery_rate_percent == 75.0


def test_quantiles_are_of_the_durations() -> None:
    assert quantiles([hundredth / 100 for hundredth in range(100)]) == Quantiles(0.5, 0.95, 0.99)
    assert quantiles([3.0]) == Quantiles(3.0, 3.0, 3.0)
    assert quantiles([]) is None
