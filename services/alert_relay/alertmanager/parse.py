"""Parses a webhook, and alerts of Alertmanager's API, into domain values. Pure."""

from collections.abc import Iterable
from datetime import UTC, datetime

from services.alert_relay.alertmanager.snapshot import Group, ListedAlert
from services.alert_relay.incidents.episodes import Alert, AlertGroup, fingerprint_of, unquoted
from services.contracts import alertmanager
from services.contracts.alertmanager import ApiAlert, ApiGroup, Status, Webhook


def alert_group(webhook: Webhook, cluster: str, now: float) -> AlertGroup:
    """Returns the alerts of a webhook.

    Args:
        webhook: the validated payload.
        cluster: name of the Alertmanager cluster that posted it.
        now: seconds since the epoch; the end of a resolved alert that has no valid one.
    """
    return AlertGroup(
        cluster=cluster,
        group_key=webhook.groupKey,
        group_labels=webhook.groupLabels,
        receiver=unquoted(webhook.receiver),
        status=webhook.status.value,
        external_url=webhook.externalURL,
        reason=webhook.notification_reason,
        truncated=webhook.truncatedAlerts,
        alerts=tuple(_alert(alert, now) for alert in webhook.alerts),
        unreadable=webhook.unreadable,
    )


def _alert(alert: alertmanager.Alert, now: float) -> Alert:
    starts_at = _seconds(alert.startsAt)
    ends_at = starts_at - 1 if alert.endsAt is None else _seconds(alert.endsAt)
    firing = alert.status is Status.FIRING
    if not firing and ends_at < starts_at:  # no end, the zero time, or clocks that disagree
        ends_at = max(now, starts_at)
    return Alert(
        fingerprint=alert.fingerprint or fingerprint_of(alert.labels),
        firing=firing,
        labels=alert.labels,
        annotations=alert.annotations,
        starts_at=starts_at,
        ends_at=None if firing else ends_at,
        generator_url=alert.generatorURL,
    )


def listed_alerts(answers: Iterable[Iterable[ApiGroup]]) -> dict[str, ListedAlert]:
    """Returns the firing alerts of a cluster, by fingerprint.

    Args:
        answers: the groups that each of its Alertmanagers returned. An alert is suppressed if all say so.
    """
    found: dict[str, ListedAlert] = {}
    for groups in answers:
        for group in groups:
            of = Group.of(group.receiver.name, group.labels)
            for alert in group.alerts:
                before = found.get(alert.fingerprint)
                suppressed = alert.status.state != "active" or bool(alert.status.mutedBy)
                found[alert.fingerprint] = ListedAlert(
                    _api_alert(alert) if before is None else before.alert,
                    suppressed and (before is None or before.suppressed),
                    frozenset((of,)) if before is None else before.groups | {of},
                )
    return found


def shows_mutes(groups: Iterable[ApiGroup]) -> bool:
    """Whether this Alertmanager says which alerts are muted by a time interval; True if it lists no alert."""
    return all(alert.status.mutedBy is not None for group in groups for alert in group.alerts)


def _api_alert(alert: ApiAlert) -> Alert:
    """Returns an alert of Alertmanager's API; the API lists firing alerts only."""
    return Alert(
        fingerprint=alert.fingerprint,
        firing=True,
        labels=alert.labels,
        annotations=alert.annotations,
        starts_at=_seconds(alert.startsAt),
        ends_at=None,
        generator_url=alert.generatorURL,
    )


def _seconds(moment: datetime) -> float:
    """Returns seconds since the epoch, limited to the range that can be formatted as a UTC time again."""
    earliest, latest = datetime.min.replace(tzinfo=UTC), datetime.max.replace(microsecond=0, tzinfo=UTC)
    return min(max(moment.timestamp(), earliest.timestamp()), latest.timestamp())
