"""Matchers, recurring windows and throttles as pure functions."""

import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.alert_relay.incidents import matchers, throttles
from services.alert_relay.incidents.incident import Actor, ActorKind
from services.alert_relay.incidents.matchers import Matcher
from services.alert_relay.incidents.throttles import LastSound
from services.alert_relay.maintenance import recurrence, window
from services.alert_relay.maintenance.window import MaintenanceWindow, WantedWindow, WindowError

ADA = Actor(ActorKind.API, "Ada")
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC")
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.builds(Matcher, NAMES, st.text(max_size=20), st.just(False), st.booleans()))
def test_a_matcher_is_read_as_it_is_written(matcher: Matcher) -> None:
    assert matchers.parse(str(matcher)) == matcher


@pytest.mark.parametrize(
    ("text", "value", "matches"),
    [
        ("service=api", "api", True),
        ("service=api", "api2", False),
        ("service!=api", "", True),
        ('service=~"api|web"', "web", True),
        ("service=~api", "the api", False),
        ("service!~test-.*", "test-1", False),
        (r'service=~"a\\.b"', "a.b", True),
        (r"service=~a\.b", "axb", False),
        ('"service" = "a b"', "a b", True),
    ],
)
def test_a_matcher_means_what_it_means_in_alertmanager(text: str, value: str, *, matches: bool) -> None:
    assert matchers.parse(text).matches({"service": value}) is matches


@pytest.mark.parametrize(
    "texts", [["service"], ["=a"], ["a=~("], [], ["a!=b"], ["a=~.*"], ["a=" + "b" * 501]]
)
def test_what_is_no_set_of_matchers_is_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        matchers.parse_all(texts)


def test_no_expression_runs_away() -> None:
    matcher = matchers.parse("a=~(x+x+)+y")
    began = time.process_time()
    assert not matcher.matches({"a": "x" * 5_000})
    # A backtracking engine would need longer than the universe is old.
    assert time.process_time() - began < 60


@given(
    zone=st.sampled_from(ZONES),
    first=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),  # noqa: DTZ001 - of a wall clock
    rule=st.sampled_from(["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=SU,WE", "FREQ=MONTHLY;BYDAY=-1SU"]),
)
def test_a_window_begins_at_the_same_time_of_the_wall_clock_summer_and_winter(
    zone: str, first: datetime, rule: str
) -> None:
    there = ZoneInfo(zone)
    starts_at = first.replace(tzinfo=there).timestamp()
    wanted = datetime.fromtimestamp(starts_at, there).replace(tzinfo=None, microsecond=0).time()

    found = list(islice(recurrence.occurrences(rule, zone, starts_at, starts_at - 1), 60))

    assert found == sorted(set(found))
    for begins in found:
        local = datetime.fromtimestamp(begins, there)
        naive = local.replace(tzinfo=None)
        if naive.time() != wanted:
            # The clock skips the time: it comes as much later.
            skipped = datetime.combine(naive.date(), wanted, there)
            assert skipped.astimezone(UTC).astimezone(there).time() != wanted
            assert naive - skipped.replace(tzinfo=None) <= timedelta(hours=1)
        else:
            assert local.fold == 0 or begins == int(starts_at)


@pytest.mark.parametrize(
    ("day", "utc"),
    [
        ("2026-03-22", "01:30"),
        ("2026-03-29", "01:30"),
        ("2026-04-05", "00:30"),
        ("2026-10-25", "00:30"),
        ("2026-11-01", "01:30"),
    ],
)
def test_sunday_nights_in_berlin(day: str, utc: str) -> None:
    """02:30 does not exist on 29 March 2026, and comes twice on 25 October."""
    starts_at = datetime(2026, 1, 4, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    after = datetime.fromisoformat(f"{day}T00:00:00+01:00").timestamp() - 7_200

    begins = next(recurrence.occurrences("FREQ=WEEKLY;BYDAY=SU", "Europe/Berlin", starts_at, after))

    assert datetime.fromtimestamp(begins, UTC).isoformat() == f"{day}T{utc}:00+00:00"


@given(st.floats(0, 86_400 * 800), st.sampled_from(ZONES))
def test_the_next_occurrence_is_never_before_and_has_the_same_length(elapsed: float, zone: str) -> None:
    start = 1_767_225_600.0
    made = window.plan(
        WantedWindow(["a=b"], starts_at=start, seconds=3_600, rule="FREQ=DAILY", zone=zone), "w", ADA, start
    )
    now = made.ends_at + elapsed

    after = window.after_end(made, now)

    assert after.ended_at is None
    assert after.ends_at - after.starts_at == pytest.approx(3_600)
    assert after.starts_at > made.starts_at
    assert after.ends_at > now
    assert after.starts_at <= now + 86_400 * 1.1


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (WantedWindow(["a"], seconds=9), "matchers"),
        (WantedWindow(["a=b"]), "ends_at"),
        (WantedWindow(["a=b"], seconds=9, ends_at=2_000.0), "ends_at"),
        (WantedWindow(["a=b"], ends_at=999.0), "ends_at"),
        (WantedWindow(["a=b"], starts_at=10.0, seconds=9), "ends_at"),
        (WantedWindow(["a=b"], seconds=9, rule="FREQ=HOURLY"), "rule"),
        (WantedWindow(["a=b"], seconds=9, rule="FREQ=DAILY;BYHOUR=3"), "rule"),
        (WantedWindow(["a=b"], seconds=9, rule="FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"), "rule"),
        (WantedWindow(["a=b"], seconds=9, rule="FREQ=DAILY;INTERVAL=0"), "rule"),
        (WantedWindow(["a=b"], seconds=9, rule="FREQ=DAILY", zone="Mars/Base"), "zone"),
    ],
)
def test_an_error_names_the_field(wanted: WantedWindow, field: str) -> None:
    with pytest.raises(WindowError) as caught:
        window.plan(wanted, "w", ADA, 1_000.0)
    assert caught.value.field == field


def test_of_several_windows_the_one_that_ends_last_counts() -> None:
    def one(name: str, ends_at: float) -> MaintenanceWindow:
        return window.plan(WantedWindow(["a=b"], ends_at=ends_at, name=name), name, ADA, 0.0)

    found = window.covering([one("short", 10), one("long", 20)], "", {"a": "b"}, 5.0)
    assert found is not None
    assert found.name == "long"


def test_throttles_are_read_in_order() -> None:
    parsed = throttles.parse("Payment.*=0s, High(Error|X{1,2})Rate=30m, .*=15m,")
    names = ("PaymentFailed", "HighErrorRate", "HighXXRate", "Other")
    assert [throttles.seconds_for(parsed, name) for name in names] == [0, 1_800, 1_800, 900]


@pytest.mark.parametrize("text", ["HighErrorRate", "=30m", "A=soon", "(=30m", "A=30d"])
def test_a_wrong_throttle_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        throttles.parse(text)


@pytest.mark.parametrize(
    ("last", "severity", "resolved", "now", "held"),
    [
        (None, "warning", False, 10.0, False),
        (LastSound(0.0, "warning", resolved=False), "warning", False, 10.0, True),
        (LastSound(0.0, "warning", resolved=False), "critical", False, 10.0, False),
        (LastSound(0.0, "warning", resolved=False), "warning", False, 60.0, False),
        (LastSound(0.0, "warning", resolved=False), "warning", True, 10.0, False),
        (LastSound(0.0, "warning", resolved=True), "warning", True, 10.0, True),
        # The clock was put back.
        (LastSound(90.0, "warning", resolved=False), "warning", False, 10.0, False),
    ],
)
def test_what_is_held_back(
    last: LastSound | None, severity: str, now: float, *, resolved: bool, held: bool
) -> None:
    assert throttles.is_held_back(last, 60.0, severity, resolved=resolved, now=now) is held
