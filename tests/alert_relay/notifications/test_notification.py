import pytest

from services.alert_relay.incidents.episodes import Episode, EpisodeChange, Observation
from services.alert_relay.incidents.severity import Urgency, urgency_of, worst
from services.alert_relay.notifications import notification as notifications
from services.alert_relay.notifications.notification import Notification, NotificationKind
from services.outbox.messages import Lane
from tests.alert_relay import payloads
from tests.alert_relay.payloads import START, alert, webhook


def observation(
    change: EpisodeChange,
    instance: str = "a",
    *,
    notified_at: float | None = START,
    severity: str = "critical",
) -> Observation:
    ends = (
        START + 60 if change in (EpisodeChange.RESOLVED, EpisodeChange.MISSED, EpisodeChange.STALE) else None
    )
    payload = webhook(alert(instance, severity=severity, ends_at=ends))
    (listed,) = payloads.alert_group(payload).alerts
    before = (
        None
        if change is EpisodeChange.FIRED
        else Episode("e", "i", listed.fingerprint, START, START, notified_at=notified_at)
    )
    return Observation(listed, change, before)


def compose(*observations: Observation, now: float = START + 1, truncated: int = 0) -> list[Notification]:
    group = payloads.alert_group(webhook(alert(), truncatedAlerts=truncated))
    return notifications.compose(group, observations, notifications.to_notify(observations, REPEAT, now))


REPEAT = 12 * 3_600.0


@pytest.mark.parametrize("seconds", [0.3, 90, 600, 0.79 * REPEAT])
def test_a_webhook_that_only_says_what_is_known_tells_nothing(seconds: float) -> None:
    """Our answer was lost and Alertmanager retries, or a peer delivers too, however long that goes on."""
    again = observation(EpisodeChange.CONTINUES)

    assert notifications.to_notify([again], REPEAT, START + seconds) == []


def test_a_webhook_one_repeat_interval_after_the_last_notification_is_alertmanagers_repeat() -> None:
    """An answer that is lost for ever causes what Alertmanager would send without that."""
    repeat = observation(EpisodeChange.CONTINUES)

    (notification,) = compose(repeat, now=START + REPEAT)

    assert [item.kind for item in notification.items] == [NotificationKind.REPEATED]
    assert notification.items[0].since == START


def test_an_alert_that_was_silenced_until_now_is_notified_as_firing() -> None:
    unknown = observation(EpisodeChange.CONTINUES, notified_at=None)

    (notification,) = compose(unknown, now=START + 1)

    assert [item.kind for item in notification.items] == [NotificationKind.FIRING]


def test_a_new_alert_in_a_group_is_told_and_the_others_are_only_counted() -> None:
    known = observation(EpisodeChange.CONTINUES, "a")
    fresh = observation(EpisodeChange.FIRED, "b")

    (notification,) = compose(known, fresh, now=START + 9_999)

    assert [item.labels["instance"] for item in notification.items] == ["b"]
    assert notification.still_firing == 1


def test_a_known_resolution_is_never_told_again() -> None:
    stale = observation(EpisodeChange.STALE)

    assert notifications.to_notify([stale], REPEAT, START + 999_999) == []


def test_an_alert_that_fired_and_resolved_unheard_is_told_as_resolved() -> None:
    (notification,) = compose(observation(EpisodeChange.MISSED))

    assert [item.kind for item in notification.items] == [NotificationKind.RESOLVED]


def test_what_fires_stands_before_what_is_over() -> None:
    (notification,) = compose(observation(EpisodeChange.RESOLVED, "a"), observation(EpisodeChange.FIRED, "b"))

    assert [item.kind for item in notification.items] == [NotificationKind.FIRING, NotificationKind.RESOLVED]
    assert notification.title == "HighErrorRate firing/resolved"


def test_a_critical_alert_goes_first_and_rings() -> None:
    (notification,) = compose(observation(EpisodeChange.FIRED, severity="critical"))

    assert (notification.urgency.lane, notification.urgency.silent) == (Lane.URGENT, False)


def test_an_info_alert_makes_no_sound() -> None:
    (notification,) = compose(observation(EpisodeChange.FIRED, severity="info"))

    assert (notification.urgency.lane, notification.urgency.silent) == (Lane.NORMAL, True)


def test_a_warning_and_a_severity_nobody_knows_ring_in_their_turn() -> None:
    assert urgency_of("warning") is Urgency.NORMAL
    assert urgency_of("p3-teapot") is Urgency.NORMAL
    assert urgency_of("") is Urgency.NORMAL


@pytest.mark.parametrize(
    ("severities", "urgency"),
    [
        (["p0", "p1", "p2", "sev0", "sev1", "sev-2", "s1", "page"], Urgency.LOUD),
        (["p3", "sev3", "s3", "warning"], Urgency.NORMAL),
        (["p4", "p5", "sev4", "sev-5", "info"], Urgency.QUIET),
    ],
)
def test_scales_with_numbers_are_read(severities: list[str], urgency: Urgency) -> None:
    assert {urgency_of(each) for each in severities} == {urgency}


def test_a_group_that_mixes_urgencies_becomes_a_message_for_each_the_urgent_one_first() -> None:
    mixed = compose(
        observation(EpisodeChange.FIRED, "a", severity="info"),
        observation(EpisodeChange.FIRED, "b", severity="page"),
    )

    assert [notification.urgency for notification in mixed] == [Urgency.LOUD, Urgency.QUIET]


def test_a_resolution_waits_in_the_same_lane_as_its_alert() -> None:
    for severity in ("critical", "warning", "info"):
        (fired,) = compose(observation(EpisodeChange.FIRED, severity=severity))
        (over,) = compose(observation(EpisodeChange.RESOLVED, severity=severity))
        assert fired.urgency is over.urgency


def test_the_severity_label_is_read_whatever_its_case() -> None:
    (listed,) = payloads.alert_group(webhook(alert(severity="Critical"))).alerts

    assert urgency_of(listed.severity) is Urgency.LOUD


def test_the_worst_severity_is_the_most_urgent_one() -> None:
    assert worst(["info", "critical", "warning"]) == "critical"
    assert worst([]) == ""


def test_alerts_that_alertmanager_cut_off_are_counted() -> None:
    (notification,) = compose(observation(EpisodeChange.FIRED), truncated=3)

    assert notification.truncated == 3


def test_a_notice_survives_the_queue() -> None:
    (notification,) = compose(
        observation(EpisodeChange.FIRED, "ä 🔥 \u202e"), observation(EpisodeChange.RESOLVED, "b"), truncated=1
    )

    assert notifications.from_json(notifications.to_json(notification)) == notification
