"""What changes an incident, and what a person's command does with an incident that has changed meanwhile."""

import pytest

from services.alert_relay.incidents.incident import (
    ALERT_RELAY,
    Acknowledge,
    Actor,
    ActorKind,
    AddNote,
    Command,
    Ended,
    Event,
    Fired,
    Incident,
    IncidentState,
    Refusal,
    Resolve,
    Unacknowledge,
    command,
    reduce,
)

ALERTMANAGER = Actor(ActorKind.ALERTMANAGER, "europe")
ADA = Actor(ActorKind.TELEGRAM, "Ada", 1001)
BOB = Actor(ActorKind.TELEGRAM, "Bob", 1002)
OPENED = Incident("i", 1, IncidentState.FIRING, "warning", 100.0)


def after(*events: tuple[Event, Actor, float], incident: Incident = OPENED) -> Incident:
    for event, actor, now in events:
        incident = reduce(incident, event, actor, now)
    return incident


def test_each_change_gives_the_incident_a_new_version() -> None:
    incident = after(
        (Fired("critical"), ALERTMANAGER, 101.0),
        (Acknowledge(), ADA, 102.0),
        (AddNote("restarting"), ADA, 103.0),
        (Ended(1), ALERTMANAGER, 104.0),
        (Ended(0), ALERTMANAGER, 105.0),
    )
    assert (incident.version, incident.state, incident.resolved_at) == (6, IncidentState.RESOLVED, 105.0)


@pytest.mark.parametrize("event", [Unacknowledge(), Ended(0), Resolve(), Acknowledge()])
def test_what_is_so_already_changes_nothing(event: Event) -> None:
    before = {
        "Unacknowledge": OPENED,
        "Acknowledge": after((Acknowledge(), ADA, 101.0)),
    }.get(type(event).__name__, after((Ended(0), ALERTMANAGER, 101.0)))
    assert reduce(before, event, ADA, 102.0) is before


def test_the_severity_is_the_worst_of_all_alerts() -> None:
    assert after((Fired("critical"), ALERTMANAGER, 101.0), (Fired("info"), ALERTMANAGER, 102.0)).severity == (
        "critical"
    )


def test_an_alert_that_fires_again_reopens_the_incident_and_nobody_has_acknowledged_it() -> None:
    incident = after(
        (Acknowledge(), ADA, 101.0),
        (Ended(0), ALERTMANAGER, 102.0),
        (Fired("warning"), ALERTMANAGER, 103.0),
        (Ended(0), ALERTMANAGER, 104.0),
        (Fired("warning"), ALERTMANAGER, 105.0),
    )
    assert (incident.state, incident.reopened) == (IncidentState.FIRING, 2)
    assert (incident.acknowledged_by, incident.acknowledged_at, incident.resolved_at) == (None, None, None)
    assert incident.first_acknowledged_at == 101.0


def test_an_acknowledged_incident_stays_so_while_alerts_come_and_go() -> None:
    incident = after(
        (Acknowledge(), ADA, 101.0),
        (Fired("critical"), ALERTMANAGER, 102.0),
        (Ended(1), ALERTMANAGER, 103.0),
    )
    assert (incident.state, incident.acknowledged_by) == (IncidentState.ACKNOWLEDGED, ADA)


def test_the_first_acknowledgement_is_kept_when_it_is_taken_back() -> None:
    incident = after((Acknowledge(), ADA, 101.0), (Unacknowledge(), BOB, 102.0), (Acknowledge(), BOB, 103.0))
    assert (incident.acknowledged_by, incident.acknowledged_at) == (BOB, 103.0)
    assert incident.first_acknowledged_at == 101.0


def test_a_command_on_an_incident_that_has_moved_on_is_refused() -> None:
    now = after((Fired("critical"), ALERTMANAGER, 101.0))
    wanted: tuple[Command, ...] = (Acknowledge(), Resolve(), AddNote("x"))
    for each in wanted:
        assert command(now, each, ADA, OPENED.version, 102.0) is Refusal.MOVED_ON
        assert isinstance(command(now, each, ADA, now.version, 102.0), Incident)


def test_a_repeated_command_changes_nothing_whatever_version_it_carries() -> None:
    acknowledged = command(OPENED, Acknowledge(), ADA, 1, 101.0)
    assert isinstance(acknowledged, Incident)
    assert command(acknowledged, Acknowledge(), ADA, 1, 102.0) is acknowledged
    resolved = command(acknowledged, Resolve(), ADA, 2, 103.0)
    assert isinstance(resolved, Incident)
    assert command(resolved, Resolve(), BOB, 1, 104.0) is resolved


def test_what_another_person_handles_is_not_taken_away() -> None:
    acknowledged = after((Acknowledge(), ADA, 101.0))
    assert command(acknowledged, Acknowledge(), BOB, 2, 102.0) is Refusal.ACKNOWLEDGED


def test_a_resolved_incident_cannot_be_acknowledged() -> None:
    resolved = after((Ended(0), ALERTMANAGER, 101.0))
    assert command(resolved, Acknowledge(), ADA, 2, 102.0) is Refusal.RESOLVED
    assert command(resolved, Unacknowledge(), ADA, 2, 102.0) is Refusal.RESOLVED
    assert isinstance(command(resolved, AddNote("a full disk"), ADA, 2, 102.0), Incident)


def test_a_person_is_known_by_the_id_also_under_a_new_name() -> None:
    assert ADA.is_same(Actor(ActorKind.TELEGRAM, "Ada Lovelace", 1001))
    assert not ADA.is_same(Actor(ActorKind.API, "Ada"))
    assert Actor(ActorKind.API, "Ada").is_same(Actor(ActorKind.API, "Ada"))
    assert not ADA.is_same(ALERT_RELAY)
