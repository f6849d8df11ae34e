from services.alert_relay import notifications
from services.alert_relay.episodes import Change, Episode, Observed
from services.alert_relay.notifications import DELIVERED_AGAIN_SECONDS, Kind, Notice, Urgency
from services.outbox.messages import Lane
from tests.alert_relay import payloads
from tests.alert_relay.payloads import START, alert, webhook


def observed(
    change: Change, instance: str = "a", *, heard_at: float = START, severity: str = "critical"
) -> Observed:
    ends = START + 60 if change in (Change.RESOLVED, Change.MISSED, Change.STALE) else None
    payload = webhook(alert(instance, severity=severity, ends_at=ends))
    (listed,) = payloads.heard(payload).alerts
    before = None if change is Change.FIRED else Episode("e", "i", listed.fingerprint, START, heard_at)
    return Observed(listed, change, before)


def compose(*seen: Observed, now: float = START + 1, truncated: int = 0) -> list[Notice]:
    group = payloads.heard(webhook(alert(), truncatedAlerts=truncated))
    return notifications.compose(group, seen, notifications.news(seen, now))


def test_a_webhook_that_only_says_what_is_known_moments_later_tells_nothing() -> None:
    """Alertmanager retries at most 90 s apart when our answer was lost."""
    again = observed(Change.CONTINUES, heard_at=START)

    assert notifications.news([again], now=START + 90) == []


def test_an_answer_that_is_lost_for_ever_still_tells_nothing() -> None:
    """The rule counts from when the alert was last heard of, not from when it was told."""
    for minute in range(60):
        again = observed(Change.CONTINUES, heard_at=START + 60 * minute)
        assert notifications.news([again], now=START + 60 * (minute + 1)) == []


def test_a_webhook_long_after_the_last_is_alertmanagers_own_repeat() -> None:
    repeat = observed(Change.CONTINUES, heard_at=START)

    (notice,) = compose(repeat, now=START + 900)

    assert [item.kind for item in notice.items] == [Kind.REPEATED]
    assert notice.items[0].since == START


def test_the_boundary_between_a_retry_and_a_repeat_lies_above_the_longest_backoff() -> None:
    again = observed(Change.CONTINUES, heard_at=START)

    assert DELIVERED_AGAIN_SECONDS > 60 * 1.5
    assert notifications.news([again], START + DELIVERED_AGAIN_SECONDS) == []
    assert notifications.news([again], START + DELIVERED_AGAIN_SECONDS + 0.1) == [again]


def test_a_new_alert_in_a_group_is_told_and_the_others_are_only_counted() -> None:
    known = observed(Change.CONTINUES, "a", heard_at=START)
    fresh = observed(Change.FIRED, "b")

    (notice,) = compose(known, fresh, now=START + 9_999)

    assert [item.labels["instance"] for item in notice.items] == ["b"]
    assert notice.still_firing == 1


def test_a_known_resolution_is_never_told_again() -> None:
    stale = observed(Change.STALE, heard_at=START)

    assert notifications.news([stale], START + 999_999) == []


def test_an_alert_that_fired_and_resolved_unheard_is_told_as_resolved() -> None:
    (notice,) = compose(observed(Change.MISSED))

    assert [item.kind for item in notice.items] == [Kind.RESOLVED]


def test_what_fires_stands_before_what_is_over() -> None:
    (notice,) = compose(observed(Change.RESOLVED, "a"), observed(Change.FIRED, "b"))

    assert [item.kind for item in notice.items] == [Kind.FIRING, Kind.RESOLVED]
    assert notice.title == "HighErrorRate firing/resolved"


def test_a_critical_alert_goes_first_and_rings() -> None:
    (notice,) = compose(observed(Change.FIRED, severity="critical"))

    assert (notice.urgency.lane, notice.urgency.silent) == (Lane.URGENT, False)


def test_an_info_alert_makes_no_sound() -> None:
    (notice,) = compose(observed(Change.FIRED, severity="info"))

    assert (notice.urgency.lane, notice.urgency.silent) == (Lane.NORMAL, True)


def test_a_warning_and_a_severity_nobody_knows_ring_in_their_turn() -> None:
    assert notifications.urgency_of("warning") is Urgency.NORMAL
    assert notifications.urgency_of("p3-teapot") is Urgency.NORMAL
    assert notifications.urgency_of("") is Urgency.NORMAL


def test_a_group_that_mixes_urgencies_becomes_a_message_for_each_the_urgent_one_first() -> None:
    mixed = compose(
        observed(Change.FIRED, "a", severity="info"), observed(Change.FIRED, "b", severity="page")
    )

    assert [notice.urgency for notice in mixed] == [Urgency.LOUD, Urgency.QUIET]


def test_a_resolution_waits_in_the_same_lane_as_its_alert() -> None:
    for severity in ("critical", "warning", "info"):
        (fired,) = compose(observed(Change.FIRED, severity=severity))
        (over,) = compose(observed(Change.RESOLVED, severity=severity))
        assert fired.urgency is over.urgency


def test_the_severity_label_is_read_whatever_its_case() -> None:
    (listed,) = payloads.heard(webhook(alert(severity="Critical"))).alerts

    assert notifications.urgency_of(listed.severity) is Urgency.LOUD


def test_the_worst_severity_is_the_most_urgent_one() -> None:
    assert notifications.worst(["info", "critical", "warning"]) == "critical"
    assert notifications.worst([]) == ""


def test_alerts_that_alertmanager_cut_off_are_counted() -> None:
    (notice,) = compose(observed(Change.FIRED), truncated=3)

    assert notice.truncated == 3


def test_a_notice_survives_the_queue() -> None:
    (notice,) = compose(observed(Change.FIRED, "ä 🔥 \u202e"), observed(Change.RESOLVED, "b"), truncated=1)

    assert notifications.from_json(notifications.to_json(notice)) == notice
