"""What differs between the alerts of Alertmanager's API and the stored episodes."""

from dataclasses import replace

import pytest

from services.alert_relay.alertmanager import snapshot
from services.alert_relay.alertmanager.snapshot import (
    ABSENT_SECONDS,
    MISSED_SECONDS,
    SHORT_GAP_SECONDS,
    SILENCED_ABSENT_SECONDS,
    Correction,
    Group,
    Known,
    ListedAlert,
    Snapshot,
)
from services.alert_relay.incidents.episodes import Alert, End, Episode, EpisodeChange
from tests.alert_relay.payloads import START

GROUP = Group.of("alert-relay", {"alertname": "HighErrorRate"})
OTHER = Group.of("second-path", {"severity": "critical"})
OPEN = Episode("e", "i", "a", starts_at=START, last_received_at=START + 5, notified_at=START + 5)
OVER = replace(OPEN, ended_at=START + 60, ended_by=End.RESOLVED.value, last_received_at=START + 60)
KNOWN = Known({}, frozenset({"alert-relay"}), frozenset(), {})
#: When the snapshots of these tests are taken.
AT = START + 1_000


def listed(
    *, starts_at: float = START, suppressed: bool = False, groups: frozenset[Group] = frozenset({GROUP})
) -> ListedAlert:
    alert = Alert("a", firing=True, labels={}, annotations={}, starts_at=starts_at, ends_at=None)
    return ListedAlert(alert, suppressed, groups)


def correct(
    alert: ListedAlert | None,
    episode: Episode | None,
    known: Known = KNOWN,
    *,
    now: float = AT,
    absence_counts: bool = True,
    shows_mutes: bool = True,
) -> Correction:
    taken = Snapshot(
        AT, {"a": alert} if alert else {}, absence_counts=absence_counts, shows_mutes=shows_mutes
    )
    return snapshot.correct(taken, replace(known, episodes={"a": episode} if episode else {}), now)


def changes(found: Correction) -> list[tuple[EpisodeChange, bool]]:
    """Each change, and whether people are notified."""
    return [(each.change, each in found.notify) for each in found.observations]


# An open episode whose alert is missing


def test_an_alert_that_is_listed_as_stored_corrects_nothing() -> None:
    assert correct(listed(), OPEN).empty


def test_an_alert_that_is_missing_once_is_suspect_and_ends_nothing() -> None:
    found = correct(None, OPEN)

    assert (found.suspect, found.observations) == ([OPEN], [])


def test_an_alert_that_stays_missing_has_ended_when_it_was_missing_first() -> None:
    suspect = replace(OPEN, suspect_at=AT - ABSENT_SECONDS)
    assert correct(None, suspect, now=AT - 0.1).empty
    found = correct(None, suspect)

    assert changes(found) == [(EpisodeChange.RESOLVED, True)]
    (over,) = found.observations
    assert (over.ended_by, over.alert.ends_at) == (End.ABSENT, AT - ABSENT_SECONDS)


def test_an_alert_that_was_silenced_ends_at_the_next_look() -> None:
    """Alertmanager sends no resolution of it."""
    silenced = replace(OPEN, suppressed=True, suspect_at=AT - SILENCED_ABSENT_SECONDS)

    assert changes(correct(None, silenced)) == [(EpisodeChange.RESOLVED, True)]


def test_the_end_of_an_alert_that_people_never_knew_of_is_no_news() -> None:
    unknown = replace(OPEN, notified_at=None, suppressed=True, suspect_at=AT - SILENCED_ABSENT_SECONDS)

    assert changes(correct(None, unknown)) == [(EpisodeChange.RESOLVED, False)]


@pytest.mark.parametrize("known", [KNOWN, replace(KNOWN, proven=False)])
def test_an_answer_that_proves_no_absence_ends_nothing(known: Known) -> None:
    """An Alertmanager has just started or does not answer, or is another one than the webhooks come from."""
    suspect = replace(OPEN, suspect_at=START + 10)

    assert correct(None, suspect, known, absence_counts=known is not KNOWN, now=AT + 9_999).empty


def test_a_webhook_that_came_meanwhile_is_newer_than_the_answer() -> None:
    received = replace(OPEN, last_received_at=AT + 0.1, suspect_at=START + 10)

    assert correct(None, received, now=AT + 9_999).empty


def test_a_suspect_that_is_listed_again_is_present() -> None:
    suspect = replace(OPEN, suspect_at=AT - 30)

    assert correct(listed(), suspect).present == [suspect]


def test_a_silence_over_a_firing_alert_is_noted_and_its_end_too() -> None:
    assert [each.suppressed for each in correct(listed(suppressed=True), OPEN).present] == [True]
    silenced = replace(OPEN, suppressed=True)
    assert correct(listed(suppressed=True), silenced).empty
    assert [each.suppressed for each in correct(listed(), silenced).present] == [False]


def test_the_end_of_an_alert_of_a_truncated_webhook_is_believed_at_once() -> None:
    """Alertmanager has just sent the resolution, and left it out."""
    found = correct(None, OPEN, replace(KNOWN, in_truncated=frozenset({"a"})))

    assert changes(found) == [(EpisodeChange.RESOLVED, True)]
    assert found.observations[0].alert.ends_at == AT


# An open episode whose alert has a later start


def test_an_alert_that_fires_again_after_an_unsent_end_is_new() -> None:
    suspect = replace(OPEN, suspect_at=START + 30)
    found = correct(listed(starts_at=START + 30 + SHORT_GAP_SECONDS), suspect)

    assert changes(found) == [(EpisodeChange.REFIRED, True)]


@pytest.mark.parametrize("suspect_at", [None, START + 700])
def test_an_alert_that_was_away_for_a_moment_is_no_news(suspect_at: float | None) -> None:
    found = correct(listed(starts_at=START + 800), replace(OPEN, suspect_at=suspect_at))

    assert changes(found) == [(EpisodeChange.REFIRED, False)]
    assert found.observations[0].known


def test_an_alert_that_fires_again_while_it_is_silenced_is_notified_when_the_silence_ends() -> None:
    suspect = replace(OPEN, suspect_at=START + 30)
    hidden = correct(listed(starts_at=START + 900, suppressed=True), suspect)
    assert changes(hidden) == [(EpisodeChange.REFIRED, False)]
    assert not hidden.observations[0].known

    unknown = replace(OPEN, starts_at=START + 900, notified_at=None, suppressed=True)
    assert correct(listed(starts_at=START + 900, suppressed=True), unknown).empty
    shown = correct(listed(starts_at=START + 900), unknown)
    assert changes(shown) == [(EpisodeChange.CONTINUES, True)]


def test_a_start_that_moves_to_the_past_is_the_same_episode() -> None:
    """A second Prometheus reports an earlier start."""
    assert correct(listed(starts_at=START - 51), OPEN).empty


# An alert without an open episode


@pytest.mark.parametrize("episode", [None, OVER])
def test_an_alert_that_nothing_reported_is_new_after_a_while(episode: Episode | None) -> None:
    first = correct(listed(), episode)
    assert (first.observations, first.waiting) == ([], {"a"})
    since = {"a": AT - MISSED_SECONDS}
    assert correct(listed(), episode, replace(KNOWN, missed_since={"a": AT - 599}), now=AT).empty
    found = correct(listed(), episode, replace(KNOWN, missed_since=since))

    assert changes(found) == [(EpisodeChange.FIRED, True)]
    assert (found.groups, found.fetched) == ({"a": GROUP}, set())


def test_an_alert_that_a_truncated_webhook_left_out_is_new_at_once() -> None:
    known = replace(KNOWN, truncated=frozenset({GROUP}))
    found = correct(listed(groups=frozenset({GROUP, OTHER})), None, known)

    assert changes(found) == [(EpisodeChange.FIRED, True)]
    assert (found.groups, found.fetched) == ({"a": GROUP}, {"a"})


def test_an_alert_that_was_absent_is_new_at_once() -> None:
    """Alertmanager's notification log has it as firing: it sends no webhook."""
    absent = replace(OVER, ended_by=End.ABSENT.value)

    assert changes(correct(listed(starts_at=START + 900), absent)) == [(EpisodeChange.FIRED, True)]


def test_alerts_of_other_receivers_and_silenced_ones_are_no_news() -> None:
    waited = replace(KNOWN, missed_since={"a": START}, truncated=frozenset({GROUP}))
    for alert in (listed(groups=frozenset({OTHER})), listed(suppressed=True)):
        found = correct(alert, None, waited)
        assert found.empty
        assert not found.waiting


def test_an_alertmanager_that_does_not_show_mutes_can_only_complete_webhooks() -> None:
    """Before 0.28 an alert that a time interval mutes is listed as active."""
    waited = replace(KNOWN, missed_since={"a": START})
    assert correct(listed(), None, waited, shows_mutes=False).empty
    cut = replace(waited, truncated=frozenset({GROUP}))
    assert changes(correct(listed(), None, cut, shows_mutes=False)) == [(EpisodeChange.FIRED, True)]
