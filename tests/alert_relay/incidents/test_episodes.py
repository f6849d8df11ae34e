import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.alert_relay.incidents.episodes import OPENING, End, Episode, EpisodeChange, observe, unquoted
from tests.alert_relay.payloads import START, domain_alert

OPEN = Episode("e1", "i1", "f", starts_at=START, last_received_at=START + 30)
CLOSED = replace(OPEN, ended_at=START + 300)


def test_a_firing_alert_that_is_not_known_opens_an_episode() -> None:
    assert observe(domain_alert(), None).change is EpisodeChange.FIRED


def test_a_firing_alert_whose_episode_is_open_continues_it() -> None:
    assert observe(domain_alert(), OPEN).change is EpisodeChange.CONTINUES


def test_an_alert_whose_incident_a_person_resolved_fires_anew_when_alertmanager_repeats_it() -> None:
    by_hand = replace(OPEN, ended_at=START + 300, ended_by=End.BY_HAND)
    hour = 3_600.0

    def at(seconds: float) -> EpisodeChange:
        return observe(domain_alert(), by_hand, now=START + 300 + seconds, repeat_seconds=4 * hour).change

    assert at(1) is EpisodeChange.STALE
    assert at(3 * hour) is EpisodeChange.STALE
    assert at(4 * hour) is EpisodeChange.FIRED
    later = observe(domain_alert(starts_at=START + 301), by_hand, now=START + 302, repeat_seconds=4 * hour)
    assert later.change is EpisodeChange.FIRED


def test_a_start_that_moves_back_within_an_episode_is_no_new_episode() -> None:
    earlier = observe(domain_alert(starts_at=START - 51), OPEN)

    assert earlier.change is EpisodeChange.CONTINUES
    assert earlier.since == START - 51


def test_a_later_start_that_peers_report_is_the_same_episode_and_the_earliest_counts() -> None:
    later = observe(domain_alert(starts_at=START + 29), OPEN)

    assert later.change is EpisodeChange.CONTINUES
    assert later.since == START


def test_a_start_after_the_last_receipt_is_a_new_episode_although_no_resolution_came() -> None:
    again = observe(domain_alert(starts_at=START + 31), OPEN)

    assert again.change is EpisodeChange.REFIRED
    assert again.since == START + 31


def test_an_alert_of_a_clock_that_is_ahead_is_received_again_as_the_same_episode() -> None:
    ahead = replace(OPEN, starts_at=START + 600)
    assert observe(domain_alert(starts_at=START + 600), ahead).change is EpisodeChange.CONTINUES


def test_a_resolved_alert_closes_its_open_episode() -> None:
    assert observe(domain_alert(firing=False, ends_at=START + 300), OPEN).change is EpisodeChange.RESOLVED


def test_an_alert_that_fires_after_its_resolution_opens_a_new_episode_with_its_own_start() -> None:
    again = observe(domain_alert(starts_at=START + 400), CLOSED)

    assert again.change is EpisodeChange.FIRED
    assert again.since == START + 400


def test_an_alert_that_comes_back_with_its_old_start_is_told_again_rather_than_swallowed() -> None:
    assert observe(domain_alert(starts_at=START), CLOSED).change is EpisodeChange.FIRED


def test_a_resolution_that_a_peer_sends_too_is_stale() -> None:
    assert observe(domain_alert(firing=False, ends_at=START + 300), CLOSED).change is EpisodeChange.STALE


def test_a_resolution_whose_end_differs_between_peers_is_stale_too() -> None:
    assert observe(domain_alert(firing=False, ends_at=START + 315), CLOSED).change is EpisodeChange.STALE


def test_an_alert_that_fired_and_resolved_between_two_webhooks_is_a_whole_episode() -> None:
    assert observe(domain_alert(firing=False, ends_at=START + 9), None).change is EpisodeChange.MISSED


def test_one_that_fired_and_resolved_again_after_the_known_end_is_a_whole_episode_too() -> None:
    missed = observe(domain_alert(firing=False, starts_at=START + 400, ends_at=START + 500), CLOSED)

    assert missed.change is EpisodeChange.MISSED
    assert missed.since == START + 400


@pytest.mark.parametrize(
    ("quoted", "name"),
    [
        (r"team-a\.telegram\+x", "team-a.telegram+x"),
        ("alert-relay", "alert-relay"),
        (r"back\\slash", r"back\slash"),
        (r"\(all\)", "(all)"),
    ],
)
def test_the_receivers_name_is_read_without_its_quoting(quoted: str, name: str) -> None:
    assert unquoted(quoted) == name


def _quote_meta(name: str) -> str:
    """As Go's regexp.QuoteMeta does it."""
    return "".join(f"\\{c}" if c in r"\.+*?()|[]{}^$" else c for c in name)


@given(st.text())
def test_every_receivers_name_survives_quoting(name: str) -> None:
    assert unquoted(_quote_meta(name).replace("\n", "n")) == name.replace("\n", "n")


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1_000)), max_size=20))
def test_transitions_alternate_whatever_comes_in_whatever_order(deliveries: list[tuple[bool, float]]) -> None:
    """No notification repeats that the same episode began or ended."""
    known: Episode | None = None
    notified: list[EpisodeChange] = []
    for number, (firing, at) in enumerate(deliveries):
        seen = observe(domain_alert(firing=firing, starts_at=at, ends_at=None if firing else at + 1), known)
        if seen.change in (EpisodeChange.FIRED, EpisodeChange.RESOLVED):
            notified.append(seen.change)
        if seen.change in OPENING:
            known = Episode(str(number), "i", "f", at, at, None if firing else at + 1)
        elif seen.change is EpisodeChange.RESOLVED and known:
            known = replace(known, ended_at=at + 1)

    assert all(first is not second for first, second in itertools.pairwise(notified))
