"""What prometheus_client would show of the same counts is what ours show."""

from collections.abc import Callable, Sequence
from threading import Thread

import prometheus_client
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from services.kit.telemetry import meters
from services.kit.telemetry.meters import Counter, Histogram, Registry

PLAIN = "text/plain"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
BUCKETS = (0.125, 1.0, 2_000_000.0)
_LABEL = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
#: Whose sums are exact, in whatever order.
_VALUE = st.integers(0, 10**9).map(lambda eighths: eighths / 8) | st.sampled_from(BUCKETS)
_NOTED = st.lists(st.tuples(_LABEL, _VALUE), max_size=30)


def sorted_lines(text: bytes) -> list[str]:
    """Each line with its labels in order: theirs are sorted by name, ours are as declared."""
    return sorted(",".join(sorted(line.split(","))) for line in text.decode().split("\n"))


@pytest.mark.parametrize("accept", [PLAIN, OPENMETRICS])
@settings(deadline=None)
@given(noted=_NOTED, later=_NOTED)
def test_each_scrape_reads_as_theirs(
    accept: str, noted: Sequence[tuple[str, float]], later: Sequence[tuple[str, float]]
) -> None:
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # as Telemetry does
    theirs, ours = CollectorRegistry(), Registry()
    said = 'Of "one" \\ kind\nand another'
    their_count = prometheus_client.Counter("c", said, ["a"], registry=theirs)
    their_histogram = prometheus_client.Histogram("h", said, ["a"], buckets=BUCKETS, registry=theirs)
    count = Counter("c", said, ["a"], registry=ours)
    histogram = Histogram("h", said, ["a"], buckets=BUCKETS, registry=ours)
    for portion in (noted, later):
        for label, value in portion:
            for each in (their_count, count):
                each.labels(label).inc(value)
            for spread in (their_histogram, histogram):
                spread.labels(label).observe(value)
        encode, content_type = choose_encoder(accept)
        shown, shown_as = ours.exposed(accept)
        assert shown_as == content_type
        assert sorted_lines(shown) == sorted_lines(encode(theirs))
        assert sorted_lines(encode(ours)) == sorted_lines(encode(theirs))


def test_what_has_no_labels_is_there_from_the_start() -> None:
    registry = Registry()
    Counter("one", "One", registry=registry)
    Histogram("two_seconds", "Two", buckets=(1,), registry=registry)
    Gauge("three", "Three", registry=registry).set(3)
    shown, _ = registry.exposed(OPENMETRICS)
    families = {family.name: family for family in text_string_to_metric_families(shown.decode())}  # type: ignore[no-untyped-call] # prometheus_client's parser has no types
    assert {name: len(family.samples) for name, family in families.items()} == {
        "one": 1,
        "two_seconds": 4,
        "three": 1,
    }
    assert registry.get_sample_value("one_total") == 0
    assert registry.get_sample_value("two_seconds_bucket", {"le": "+Inf"}) == 0


def test_threads_that_count_at_once_lose_nothing() -> None:
    registry = Registry()
    count = Counter("c", "C", registry=registry)
    histogram = Histogram("h", "H", buckets=(1,), registry=registry)
    each = 20 * meters.MOST_WAITING

    def work() -> None:
        for _ in range(each):
            count.inc()
            histogram.observe(0.5)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        registry.exposed(PLAIN)
    for thread in threads:
        thread.join()
    assert registry.get_sample_value("c_total") == 4 * each
    assert registry.get_sample_value("h_bucket", {"le": "1.0"}) == 4 * each
    assert registry.get_sample_value("h_sum") == 2 * each


def test_without_a_scrape_little_waits_to_be_added_up() -> None:
    count = Counter("c", "C", registry=Registry())
    for _ in range(10 * meters.MOST_WAITING + 1):
        count.inc()
    assert len(count.labels()._waiting) < meters.MOST_WAITING
    assert count.total() == 10 * meters.MOST_WAITING + 1


@given(st.lists(st.floats(0, 100), max_size=3 * meters.MOST_WAITING))
def test_many_values_count_as_each_of_them(values: list[float]) -> None:
    registry = Registry()
    one_by_one = Histogram("one", "H", buckets=(1, 10), registry=registry)
    together = Histogram("all", "H", buckets=(1, 10), registry=registry)
    for value in values:
        one_by_one.observe(value)
    together.observe_all(values)
    assert len(together.labels()._waiting) < meters.MOST_WAITING
    bounds, total = together.labels().state()
    assert bounds == one_by_one.labels().state()[0]
    assert total == pytest.approx(sum(values))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda count: count.labels("a").inc(-1),
        lambda count: count.labels("a", "b").inc(),
        lambda count: count.inc(),
    ],
)
def test_a_wrong_use_is_refused(wrong: Callable[[Counter], None]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each names what is wrong
        wrong(Counter("c", "C", ["l"], registry=Registry()))
