"""Compares the alerts that Alertmanager's API lists with the stored episodes. Pure.

Webhooks alone miss much: Alertmanager sends no resolution of an alert that resolves while it is silenced,
nor after a restart that lost its state; and it leaves out alerts beyond ``max_alerts``. So the relay reads
the alerts of each cluster again and again, and corrects what it knows:

* An open episode whose alert is missing becomes *suspect*, and ends as *absent* when the alert has been
  missing for ``ABSENT_SECONDS``. Alertmanager's own resolution has the exact end and mostly comes before
  that. If the alert was silenced, no resolution will come, so one further look is enough; if a truncated
  webhook of its group has just come, that one had the resolution.
* An alert with a later start than its open episode fires anew. People are notified unless the gap was
  short: they know that it fires.
* An alert without an open episode is new if a truncated webhook left it out, if its last episode ended as
  absent, or if it has been listed for ``MISSED_SECONDS`` and no webhook came. The delay leaves Alertmanager
  the time to group (``group_wait``, ``group_interval``). If a person resolved its incident while it fires,
  Alertmanager's repeat opens a new episode.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from services.alert_relay.alertmanager.config import RepeatIntervals
from services.alert_relay.incidents.episodes import Alert, End, Episode, EpisodeChange, Observation, fires_on

#: Longer than the group_interval of most configurations.
ABSENT_SECONDS = 600.0
MISSED_SECONDS = 600.0
#: For an alert that was silenced: one look later, which a truncated webhook may cause at any time.
SILENCED_ABSENT_SECONDS = 5.0
#: An alert that fires again within this time causes no notification, if Alertmanager sends none.
SHORT_GAP_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Group:
    """A group of alerts that one receiver gets in one notification."""

    receiver: str
    labels: tuple[tuple[str, str], ...]  #: sorted

    @classmethod
    def of(cls, receiver: str, labels: Mapping[str, str]) -> "Group":
        return cls(receiver, tuple(sorted(labels.items())))


@dataclass(frozen=True, slots=True)
class ListedAlert:
    """A firing alert of the API, with the groups that it belongs to."""

    alert: Alert
    suppressed: bool  #: silenced or inhibited
    groups: frozenset[Group]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The firing alerts of a cluster.

    Args:
        at: when its Alertmanagers were called, seconds since the epoch.
        alerts: by fingerprint.
        absence_counts: whether an alert that is not listed has resolved: every Alertmanager of the cluster
            has answered, and runs for long enough to have received all alerts from Prometheus.
        repeats: the repeat intervals of its routes.
        shows_mutes: whether an alert that is muted by a time interval is listed as suppressed. Alertmanager
            before 0.28 lists it as active.
    """

    at: float
    alerts: Mapping[str, ListedAlert]
    absence_counts: bool
    repeats: RepeatIntervals = field(default_factory=RepeatIntervals)
    shows_mutes: bool = True


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored of a cluster.

    Args:
        episodes: the newest episode of each alert that is open or listed, by fingerprint.
        receivers: names of the receivers that post to this relay.
        truncated: the groups of webhooks that left alerts out and are not completed.
        in_truncated: fingerprints of open episodes in these groups.
        missed_since: by fingerprint, since when an alert is listed without an open episode, seconds since
            the epoch.
        proven: whether these Alertmanagers have listed alerts of the cluster before.
    """

    episodes: Mapping[str, Episode]
    receivers: frozenset[str]
    truncated: frozenset[Group]
    missed_since: Mapping[str, float]
    in_truncated: frozenset[str] = frozenset()
    proven: bool = True


@dataclass(slots=True)
class Correction:
    """What differs between a snapshot and the stored episodes.

    Args:
        observations: changes of episodes.
        notify: those of ``observations`` that people are notified of.
        groups: by fingerprint, the group of each alert that fires without an open episode.
        fetched: fingerprints of those that a truncated webhook had left out.
        suspect: episodes whose alert was found missing for the first time.
        present: episodes that are suspect no more, or whose ``suppressed`` has changed; with the new value.
        waiting: fingerprints of alerts that a webhook may still report.
    """

    observations: list[Observation] = field(default_factory=list)
    notify: list[Observation] = field(default_factory=list)
    groups: dict[str, Group] = field(default_factory=dict)
    fetched: set[str] = field(default_factory=set)
    suspect: list[Episode] = field(default_factory=list)
    present: list[Episode] = field(default_factory=list)
    waiting: set[str] = field(default_factory=set)

    @property
    def empty(self) -> bool:
        return not (self.observations or self.suspect or self.present)

    def observe(self, observation: Observation, *, notify: bool) -> None:
        self.observations.append(observation)
        if notify:
            self.notify.append(observation)


def correct(snapshot: Snapshot, known: Known, now: float) -> Correction:
    """Compares a snapshot with what is stored.

    An absent alert is observed without labels and annotations, which the snapshot does not have.

    Args:
        snapshot: of one cluster.
        known: of the same cluster.
        now: seconds since the epoch.
    """
    found = Correction()
    for fingerprint in dict.fromkeys((*snapshot.alerts, *known.episodes)):
        listed, episode = snapshot.alerts.get(fingerprint), known.episodes.get(fingerprint)
        if episode is not None and episode.last_received_at > snapshot.at:
            continue  # A webhook came while Alertmanager answered, whose answer may be older.
        if listed is None:
            if episode is not None and episode.open and snapshot.absence_counts and known.proven:
                _missing(found, episode, now, left_out=fingerprint in known.in_truncated)
        elif episode is None or not episode.open:
            _unknown(found, listed, episode, known, now, shows_mutes=snapshot.shows_mutes)
        else:
            _open(found, listed, episode)
    return found


def _missing(found: Correction, episode: Episode, now: float, *, left_out: bool) -> None:
    """An open episode whose alert is not listed."""
    if episode.suspect_at is None and not left_out:
        found.suspect.append(episode)
        return
    since = now if episode.suspect_at is None else episode.suspect_at
    needed = SILENCED_ABSENT_SECONDS if episode.suppressed else ABSENT_SECONDS
    if now - since < needed and not left_out:
        return
    ends_at = max(since, episode.starts_at)
    alert = Alert(episode.fingerprint, False, {}, {}, episode.starts_at, ends_at)
    absent = Observation(alert, EpisodeChange.RESOLVED, episode, End.ABSENT)
    # People who do not know that it fired need not know that it resolved.
    found.observe(absent, notify=episode.notified_at is not None)


def _unknown(
    found: Correction,
    listed: ListedAlert,
    episode: Episode | None,
    known: Known,
    now: float,
    *,
    shows_mutes: bool,
) -> None:
    """A listed alert without an open episode."""
    fingerprint = listed.alert.fingerprint
    ours = {group for group in listed.groups if group.receiver in known.receivers}
    if listed.suppressed or not ours or (episode is not None and fires_on(listed.alert, episode)):
        return
    left_out = ours & known.truncated
    # Alertmanager's notification log still has it as firing, so it sends no webhook.
    unsent = episode is not None and episode.ended_by == End.ABSENT
    missed = now - known.missed_since.get(fingerprint, now) >= MISSED_SECONDS
    if not left_out and not (shows_mutes and (unsent or missed)):
        found.waiting.add(fingerprint)
        return
    if left_out:
        found.fetched.add(fingerprint)
    # The first one, so that the same alert is always in the same group.
    found.groups[fingerprint] = min(left_out or ours, key=lambda group: (group.receiver, group.labels))
    found.observe(Observation(listed.alert, EpisodeChange.FIRED, episode), notify=True)


def _open(found: Correction, listed: ListedAlert, episode: Episode) -> None:
    """A listed alert with an open episode."""
    alert, suppressed = listed.alert, listed.suppressed
    if alert.starts_at > max(episode.starts_at, episode.last_received_at):
        gap = 0.0 if episode.suspect_at is None else alert.starts_at - episode.suspect_at
        known = episode.notified_at is not None and gap < SHORT_GAP_SECONDS
        refired = Observation(
            alert, EpisodeChange.REFIRED, episode, End.SUPERSEDED, suppressed=suppressed, known=known
        )
        found.observe(refired, notify=not known and not suppressed)
    elif episode.notified_at is None and not suppressed:
        found.observe(Observation(alert, EpisodeChange.CONTINUES, episode), notify=True)
    elif episode.suspect_at is not None or episode.suppressed != suppressed:
        found.present.append(replace(episode, suppressed=suppressed))
