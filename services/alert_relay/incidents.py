"""What people handle as one thing: the episodes of one alert name in one group. Pure.

``groupKey`` is no key: it holds the path of the routes and changes when they are edited. The group's
labels with the alert's name stay.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    FIRING = "firing"  #: at least one of its episodes is open
    RESOLVED = "resolved"  #: none is


class Mark(StrEnum):
    """An entry of the timeline, other than what was told."""

    FIRING = "firing"  #: an alert of it fires
    REPEATED = "repeated"  #: Alertmanager said again that it does
    RESOLVED = "resolved"  #: an alert of it is over
    TRUNCATED = "truncated"  #: Alertmanager cut alerts off (``max_alerts``)
    FETCHED = "fetched"  #: the relay asked Alertmanager for what it had cut off
    CLOSED = "closed"  #: its last alert is over


def key(cluster: str, alertname: str, group_labels: Mapping[str, str]) -> str:
    """The same for episodes that belong together, for as long as the incident is open."""
    named = json.dumps([cluster, alertname, sorted(group_labels.items())])
    return hashlib.sha256(named.encode()).hexdigest()
