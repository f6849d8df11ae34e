import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dashboard.history import BUCKETS, History, Sample, increase

HOUR = 3600.0
T0 = 1_767_225_600.0


def sample(
    at: float,
    *,
    accepted: int = 0,
    delivered: int = 0,
    failed: int = 0,
    depth: int | None = 0,
    p95: float | None = None,
) -> Sample:
    return Sample(
        at=T0 + at,
        accepted=accepted,
        delivered=delivered,
        failed=failed,
        depth=depth,
        oldest_age=None,
        p50=None,
        p95=p95,
        p99=None,
    )


def remembering(*samples: Sample, interval: float = 1.0, window: float = HOUR) -> History:
    history = History(window, interval)
    for each in samples:
        history.add(each)
    return history


def test_a_counter_that_is_lower_was_reset_and_counts_from_zero() -> None:
    assert increase(10, 14) == 4
    assert increase(10, 10) == 0
    assert increase(10, 3) == 3


def test_rates_are_increases_over_the_time_between_samples() -> None:
    history = remembering(sample(0), sample(5, accepted=10, delivered=5, failed=1))
    series = history.series()
    assert series.t == [T0, T0 + 5]
    assert series.accepted_per_second == [None, 2.0]
    assert series.delivered_per_second == [None, 1.0]
    assert series.failed_per_second == [None, 0.2]


def test_the_first_sample_says_nothing_of_a_rate() -> None:
    assert remembering(sample(0, accepted=1_000_000)).series().accepted_per_second == [None]


def test_a_restart_of_the_bridge_is_no_negative_rate() -> None:
    series = remembering(sample(0, accepted=500), sample(5, accepted=10)).series()
    assert series.accepted_per_second == [None, 2.0]


def test_samples_of_one_slice_add_up_and_gauges_keep_the_worst() -> None:
    history = remembering(
        sample(0, accepted=0, depth=1),
        sample(1, accepted=2, depth=9, p95=0.5),
        sample(2, accepted=4, depth=2, p95=0.1),
    )
    series = history.series()
    assert series.t == [T0]
    assert series.accepted_per_second == [2.0]
    assert series.queue_depth == [9]
    assert series.p95_seconds == [0.5]


def test_a_gauge_that_was_not_measured_stays_unknown() -> None:
    series = remembering(sample(0, depth=None), sample(1, depth=None)).series()
    assert series.queue_depth == [None]
    assert series.p95_seconds == [None]


def test_a_pause_is_a_hole_of_one_slice_and_the_mean_over_it_comes_after() -> None:
    series = remembering(sample(0), sample(5, accepted=5), sample(105, accepted=205)).series()
    assert series.t == [T0, T0 + 5, T0 + 10, T0 + 105]
    assert series.accepted_per_second == [None, 1.0, None, 2.0]
    assert series.queue_depth == [0, 0, None, 0]


def test_a_sample_from_the_past_is_left_out() -> None:
    history = remembering(sample(10, accepted=5), sample(9, accepted=400), sample(15, accepted=10))
    assert history.series().accepted_per_second == [None, 1.0]


def test_an_hour_is_what_is_remembered_and_no_more() -> None:
    history = History(HOUR, 1.0)
    for second in range(0, 3 * 3600, 5):
        history.add(sample(second, accepted=second))
    series = history.series()
    assert series.t[0] >= T0 + 3 * 3600 - 5 - HOUR
    assert len(series.t) == BUCKETS + 1


def test_memory_is_bounded_however_short_the_interval_and_long_the_window() -> None:
    history = History(86_400.0, 0.1)
    for second in range(0, 100_000, 20):
        history.add(sample(second))
    assert history.step == 120.0
    assert len(history.series().t) <= BUCKETS + 1


def test_a_long_interval_is_never_cut_into_empty_slices() -> None:
    history = remembering(*(sample(at, accepted=at) for at in range(0, 600, 60)), interval=60.0)
    assert history.step == 60.0
    assert history.series().accepted_per_second == [None, *[1.0] * 9]


def test_fewer_points_are_longer_slices_of_the_same_numbers() -> None:
    history = remembering(*(sample(at, accepted=at, depth=at) for at in range(0, 3600, 5)))
    coarse = history.series(points=60)
    assert coarse.step == 60.0
    assert len(coarse.t) == 60
    assert coarse.accepted_per_second[1:] == [1.0] * 59
    assert coarse.queue_depth[0] == 55


def test_only_what_is_new_is_told_when_asked_since_a_time() -> None:
    history = remembering(*(sample(at, accepted=at) for at in range(0, 60, 5)))
    assert history.series(since=T0 + 50).t == [T0 + 50, T0 + 55]
    assert history.series(since=T0 + 1000).t == []


def test_nothing_measured_is_empty_columns() -> None:
    series = History(HOUR, 1.0).series()
    assert series.t == []
    assert series.accepted_per_second == []
    assert series.step == 5.0


def test_the_past_is_forgotten_even_when_no_sample_comes() -> None:
    history = remembering(sample(0), sample(5))
    history.drop_old(T0 + 2 * HOUR)
    assert history.series().t == []


@given(
    st.lists(st.tuples(st.floats(0.1, 300), st.integers(0, 50), st.booleans()), min_size=2, max_size=200),
    st.integers(1, BUCKETS),
)
def test_nothing_that_was_counted_is_lost_or_counted_twice(
    steps: list[tuple[float, int, bool]], points: int
) -> None:
    history = History(86_400.0, 1.0)
    at, total, counted = 0.0, 0, 0
    history.add(sample(at, accepted=total))
    for pause, more, restarted in steps:
        at += pause
        total = more if restarted and more < total else total + more
        counted += more
        history.add(sample(at, accepted=total))
    buckets = history.buckets(points)
    assert sum(bucket.accepted for bucket in buckets) == counted
    assert sum(bucket.elapsed for bucket in buckets) == pytest.approx(at)
    starts = [bucket.start for bucket in buckets]
    assert starts == sorted(set(starts))
    assert len(starts) <= points + 1
