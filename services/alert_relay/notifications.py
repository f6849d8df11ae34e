"""Which news people are told, how loudly, and in how many messages. Pure.

Told are the transitions of episodes: fired, resolved, and what fired and resolved unheard. What a
webhook lists besides is only counted ("2 more are firing").

A webhook without a transition is one of two things, and its content does not tell which:

* a delivery again: our answer was lost and Alertmanager retries, or a peer of the cluster delivers too.
  Retries are at most 90 s apart (backoff up to 60 s, jitter of half), also from one flush to the
  next, and peers wait 15 s for each before them;
* Alertmanager's own repeat, ``repeat_interval`` after the last.

So an alert that was last *heard of* more than ``DELIVERED_AGAIN_SECONDS`` ago is repeated as "still
firing since", and any other is a delivery again and says nothing. Heard of, not told: a receiver
whose answers are always lost gets the same webhook again and again, and shall still tell it once. A
``repeat_interval`` shorter than that is not told as repeats.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import TypeAdapter

from services.alert_relay.episodes import Change, Heard, Observed
from services.outbox.messages import Lane

DELIVERED_AGAIN_SECONDS = 120.0

TRANSITIONS = (Change.FIRED, Change.RESOLVED, Change.MISSED)
_LOUD = frozenset({"critical", "page", "emergency", "fatal", "disaster", "alert", "error", "high"})
_QUIET = frozenset({"info", "informational", "information", "none", "debug", "low", "notice"})


class Urgency(StrEnum):
    """How an alert goes out.

    It hangs on the labels alone, so it is the same for a whole episode: a resolution waits in the
    same lane as its alert and cannot arrive before it.
    """

    LOUD = "loud"
    NORMAL = "normal"
    QUIET = "quiet"  #: without a sound

    @property
    def lane(self) -> Lane:
        return Lane.URGENT if self is Urgency.LOUD else Lane.NORMAL

    @property
    def silent(self) -> bool:
        return self is Urgency.QUIET


class Kind(StrEnum):
    """What a message says of one alert."""

    FIRING = "firing"
    REPEATED = "repeated"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Item:
    """One alert in a message."""

    kind: Kind
    fingerprint: str
    name: str
    severity: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    generator_url: str
    since: float
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class Notice:
    """What one message says; kept as the outbox event's body, and rendered from there."""

    urgency: Urgency
    items: tuple[Item, ...]
    still_firing: int  #: alerts of the group that fire and are no news
    truncated: int  #: alerts that Alertmanager did not list
    external_url: str
    fetched: bool = False  #: whether Alertmanager had cut them off, and was asked

    @property
    def title(self) -> str:
        names = list(dict.fromkeys(item.name or "alert" for item in self.items))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{names[0]}{more} {'/'.join(self.kinds)}"

    @property
    def severity(self) -> str:
        return self.items[0].severity

    @property
    def kinds(self) -> list[Kind]:
        return [kind for kind in Kind if any(item.kind is kind for item in self.items)]


_notice = TypeAdapter(Notice)


def to_json(notice: Notice) -> str:
    return _notice.dump_json(notice).decode()


def from_json(body: str) -> Notice:
    return _notice.validate_json(body)


def urgency_of(severity: str) -> Urgency:
    if severity in _LOUD:
        return Urgency.LOUD
    return Urgency.QUIET if severity in _QUIET else Urgency.NORMAL


def worst(severities: Iterable[str]) -> str:
    """The most urgent of them; the first of equals."""
    order = list(Urgency)
    return min(severities, key=lambda severity: order.index(urgency_of(severity)), default="")


def news(observed: Sequence[Observed], now: float) -> list[Observed]:
    """What of a webhook people are told; see the module for the rule."""
    transitions = [each for each in observed if each.change in TRANSITIONS]
    return transitions or [each for each in observed if _is_repeat(each, now)]


def _is_repeat(each: Observed, now: float) -> bool:
    return (
        each.change is Change.CONTINUES
        and each.before is not None
        and now - each.before.heard_at > DELIVERED_AGAIN_SECONDS
    )


def compose(
    heard: Heard, observed: Sequence[Observed], told: Sequence[Observed], *, fetched: bool = False
) -> list[Notice]:
    """One message, or one for each urgency where a group mixes them; the most urgent first."""
    listed = {id(each) for each in told}
    still_firing = sum(each.change is Change.CONTINUES and id(each) not in listed for each in observed)
    by_urgency: dict[Urgency, list[Item]] = {}
    for each in told:
        by_urgency.setdefault(urgency_of(each.alert.severity), []).append(_item(each))
    return [
        Notice(
            urgency,
            _ordered(by_urgency[urgency]),
            still_firing,
            heard.truncated,
            heard.external_url,
            fetched=fetched,
        )
        for urgency in Urgency
        if urgency in by_urgency
    ]


def _item(each: Observed) -> Item:
    alert = each.alert
    return Item(
        kind_of(each.change),
        alert.fingerprint,
        alert.name,
        alert.severity,
        dict(alert.labels),
        dict(alert.annotations),
        alert.generator_url,
        each.since,
        alert.ends_at,
    )


def kind_of(change: Change) -> Kind:
    if change is Change.FIRED:
        return Kind.FIRING
    return Kind.REPEATED if change is Change.CONTINUES else Kind.RESOLVED


def _ordered(items: list[Item]) -> tuple[Item, ...]:
    """What fires before what is over; otherwise as Alertmanager listed them."""
    order = list(Kind)
    return tuple(sorted(items, key=lambda item: order.index(item.kind)))
