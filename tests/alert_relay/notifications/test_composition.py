"""What people are notified of, and by which messages."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.alert_relay.incidents.episodes import Episode, EpisodeChange, Observation
from services.alert_relay.incidents.incident import Actor, ActorKind, Incident, IncidentState
from services.alert_relay.incidents.severity import Urgency
from services.alert_relay.notifications import composition, notification
from services.alert_relay.notifications.composition import IncidentView, item_of
from services.alert_relay.notifications.notification import Notification, NotificationKind, Purpose
from services.outbox.messages import Lane
from tests.alert_relay import payloads
from tests.alert_relay.payloads import START, alert, webhook

REPEAT = 12 * 3_600.0
ADA = Actor(ActorKind.API, "Ada")
FIRING = Incident("i", 1, IncidentState.FIRING, "critical", START)
RESOLVED = replace(FIRING, version=2, state=IncidentState.RESOLVED, resolved_at=START + 60)


def observation(
    change: EpisodeChange,
    instance: str = "a",
    *,
    notified_at: float | None = START,
    severity: str = "critical",
) -> Observation:
    over = change in (EpisodeChange.RESOLVED, EpisodeChange.MISSED, EpisodeChange.STALE)
    payload = webhook(alert(instance, severity=severity, ends_at=START + 60 if over else None))
    (listed,) = payloads.alert_group(payload).alerts
    before = (
        None
        if change is EpisodeChange.FIRED
        else Episode("e", "i", listed.fingerprint, START, START, notified_at=notified_at)
    )
    return Observation(listed, change, before)


def compose(
    before: Incident | None,
    after: Incident,
    *observed: Observation,
    first_event: str | None = "first",
    others: Sequence[Observation] = (),
) -> list[Notification]:
    """Composes the notifications of a change.

    Args:
        before: the incident before it.
        after: the incident after it.
        observed: the alerts that people are notified of.
        first_event: of the incident's message; None: it has none yet.
        others: alerts of the incident that go on.
    """
    listed = tuple(item_of(each, "i") for each in (*others, *observed))
    firing = sum(each.kind is not NotificationKind.RESOLVED for each in listed)
    view = IncidentView(after, "HighErrorRate", "europe", payloads.CLUSTER, listed, firing, first_event)
    return composition.compose(before, view, [item_of(each, "i") for each in observed])


def purposes(composed: Sequence[Notification]) -> list[Purpose]:
    return [each.purpose for each in composed]


@pytest.mark.parametrize("seconds", [0.3, 90, 600, 0.79 * REPEAT])
def test_a_webhook_that_only_says_what_is_known_notifies_of_nothing(seconds: float) -> None:
    """Our answer was lost and Alertmanager retries, or a peer delivers too, however long that goes on."""
    again = observation(EpisodeChange.CONTINUES)

    assert composition.to_notify([again], REPEAT, START + seconds) == []


def test_a_webhook_one_repeat_interval_after_the_last_notification_is_alertmanagers_repeat() -> None:
    """An answer that is lost for ever causes what Alertmanager would send without that."""
    (repeat,) = composition.to_notify([observation(EpisodeChange.CONTINUES)], REPEAT, START + REPEAT)

    (sent,) = compose(FIRING, FIRING, repeat)

    assert [item.kind for item in sent.items] == [NotificationKind.REPEATED]
    assert (sent.purpose, sent.items[0].since) == (Purpose.NEWS, START)


def test_a_repeat_of_an_acknowledged_incident_notifies_nobody() -> None:
    again = observation(EpisodeChange.CONTINUES)

    assert composition.to_notify([again], REPEAT, START + REPEAT, acknowledged=["i"]) == []


def test_a_known_resolution_is_never_notified_again() -> None:
    stale = observation(EpisodeChange.STALE)

    assert composition.to_notify([stale], REPEAT, START + 999_999) == []


def test_a_new_incident_has_one_message() -> None:
    (sent,) = compose(None, FIRING, observation(EpisodeChange.FIRED), first_event=None)

    assert (sent.purpose, sent.urgency) == (Purpose.OPENED, Urgency.LOUD)
    assert (sent.urgency.lane, sent.urgency.silent) == (Lane.URGENT, False)


def test_an_alert_that_was_silenced_until_now_opens_the_message_of_its_incident() -> None:
    unknown = observation(EpisodeChange.CONTINUES, notified_at=None)
    assert composition.to_notify([unknown], REPEAT, START + 1) == [unknown]

    (sent,) = compose(FIRING, FIRING, unknown, first_event=None)

    assert (sent.purpose, [item.kind for item in sent.items]) == (Purpose.OPENED, [NotificationKind.FIRING])


def test_an_incident_that_nobody_was_notified_of_has_no_message() -> None:
    assert compose(FIRING, RESOLVED, first_event=None) == []


def test_another_alert_changes_the_message_and_is_news() -> None:
    known, fresh = observation(EpisodeChange.CONTINUES, "a"), observation(EpisodeChange.FIRED, "b")

    changed, news = compose(FIRING, replace(FIRING, version=2), fresh, others=[known])

    assert (changed.purpose, [each.labels["instance"] for each in changed.items]) == (
        Purpose.CHANGED,
        ["a", "b"],
    )
    assert (news.purpose, [each.labels["instance"] for each in news.items]) == (Purpose.NEWS, ["b"])
    assert (news.still_firing, news.incident and news.incident.first_event) == (1, "first")


def test_one_of_several_alerts_that_ends_changes_the_message_without_a_sound() -> None:
    over, known = observation(EpisodeChange.RESOLVED, "a"), observation(EpisodeChange.CONTINUES, "b")

    assert purposes(compose(FIRING, replace(FIRING, version=2), over, others=[known])) == [Purpose.CHANGED]


def test_the_last_alert_that_ends_is_news() -> None:
    assert purposes(compose(FIRING, RESOLVED, observation(EpisodeChange.RESOLVED))) == [
        Purpose.CHANGED,
        Purpose.NEWS,
    ]


def test_an_incident_that_opened_and_ended_between_two_webhooks_has_one_message() -> None:
    (sent,) = compose(None, RESOLVED, observation(EpisodeChange.MISSED), first_event=None)

    assert [item.kind for item in sent.items] == [NotificationKind.RESOLVED]


def test_what_a_person_does_changes_the_message_and_only_the_end_is_news() -> None:
    taken = replace(FIRING, version=2, state=IncidentState.ACKNOWLEDGED, acknowledged_by=ADA)
    assert purposes(compose(FIRING, taken)) == [Purpose.CHANGED]

    changed, news = compose(FIRING, replace(RESOLVED, resolved_by=ADA))

    assert news.incident is not None
    assert (changed.purpose, news.purpose, news.incident.resolved_by) == (
        Purpose.CHANGED,
        Purpose.NEWS,
        "Ada",
    )


def test_an_incident_that_is_reopened_again_and_again_is_no_news_any_more() -> None:
    sent = []
    incident = RESOLVED
    for number in range(1, 11):
        reopened = replace(FIRING, version=2 * number + 1, reopened=number, flaps=number)
        sent.append(purposes(compose(incident, reopened, observation(EpisodeChange.REFIRED))))
        incident = replace(RESOLVED, version=2 * number + 2, reopened=number, flaps=number)
        sent.append(purposes(compose(reopened, incident, observation(EpisodeChange.RESOLVED))))

    assert sent[:4] == [[Purpose.CHANGED, Purpose.NEWS]] * 4
    assert sent[4:] == [[Purpose.CHANGED]] * 16


def test_a_new_alert_of_an_incident_that_is_reopened_again_and_again_is_news() -> None:
    flapping = replace(RESOLVED, version=8, reopened=3, flaps=3)
    reopened = replace(FIRING, version=9, reopened=4, flaps=4)
    known = observation(EpisodeChange.REFIRED, "a")

    _, news = compose(flapping, reopened, known, observation(EpisodeChange.FIRED, "b"))

    assert [each.labels["instance"] for each in news.items] == ["b"]


def test_what_fires_stands_before_what_is_over() -> None:
    changed, news = compose(
        FIRING,
        replace(FIRING, version=2),
        observation(EpisodeChange.RESOLVED, "a"),
        observation(EpisodeChange.FIRED, "b"),
    )

    assert changed.title == "HighErrorRate firing/resolved"
    assert [item.kind for item in news.items] == [NotificationKind.FIRING]


def test_an_info_alert_makes_no_sound() -> None:
    quiet = replace(FIRING, severity="info")
    (sent,) = compose(None, quiet, observation(EpisodeChange.FIRED, severity="info"), first_event=None)

    assert (sent.urgency.lane, sent.urgency.silent) == (Lane.NORMAL, True)


def test_an_urgent_alert_that_joins_a_quiet_incident_is_loud_news() -> None:
    quiet = replace(FIRING, severity="info")

    _, news = compose(quiet, replace(FIRING, version=2), observation(EpisodeChange.FIRED, "b"))

    assert news.urgency is Urgency.LOUD


def test_alerts_that_could_not_be_read_are_an_urgent_message_of_their_own() -> None:
    group = replace(payloads.alert_group(webhook(alert())), unreadable=("alerts[1]: write an object",))

    (fault,) = composition.unreadable(group)

    assert (fault.purpose, fault.urgency, fault.incident) == (Purpose.FAULT, Urgency.LOUD, None)
    assert composition.unreadable(replace(group, unreadable=())) == []


def test_a_notification_survives_the_queue() -> None:
    handled = replace(FIRING, version=3, acknowledged_by=ADA, acknowledged_at=START, reopened=1)
    composed = compose(
        FIRING,
        handled,
        observation(EpisodeChange.FIRED, "ä 🔥 \u202e"),
        observation(EpisodeChange.RESOLVED, "b"),
    )

    for each in composed:
        assert notification.from_json(notification.to_json(each)) == each
