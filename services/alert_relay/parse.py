"""A webhook as Alertmanager wrote it, read as far as it can be believed. Pure."""

from datetime import UTC, datetime

from services.alert_relay.episodes import Alert, Heard, unquoted
from services.contracts import alertmanager
from services.contracts.alertmanager import ApiAlert, Status, Webhook


def heard(webhook: Webhook, cluster: str, now: float) -> Heard:
    """What a webhook says.

    Args:
        webhook: as it came.
        cluster: name of the Alertmanager cluster that it came from.
        now: seconds since the epoch.
    """
    return Heard(
        cluster=cluster,
        group_key=webhook.groupKey,
        group_labels=webhook.groupLabels,
        receiver=unquoted(webhook.receiver),
        status=webhook.status.value,
        external_url=webhook.externalURL,
        reason=webhook.notification_reason,
        truncated=webhook.truncatedAlerts,
        alerts=tuple(_alert(alert, now) for alert in webhook.alerts),
    )


def _alert(alert: alertmanager.Alert, now: float) -> Alert:
    starts_at, ends_at = _seconds(alert.startsAt), _seconds(alert.endsAt)
    firing = alert.status is Status.FIRING
    if not firing and ends_at < starts_at:  # the zero time, or clocks that disagree
        ends_at = max(now, starts_at)
    return Alert(
        fingerprint=alert.fingerprint,
        firing=firing,
        labels=alert.labels,
        annotations=alert.annotations,
        starts_at=starts_at,
        ends_at=None if firing else ends_at,
        generator_url=alert.generatorURL,
    )


def fetched(alert: ApiAlert) -> Alert:
    """An alert as Alertmanager's API has it: it has none but those that fire."""
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
    """Seconds since the epoch, within what can be written as a time again whatever its offset was."""
    earliest, latest = datetime.min.replace(tzinfo=UTC), datetime.max.replace(microsecond=0, tzinfo=UTC)
    return min(max(moment.timestamp(), earliest.timestamp()), latest.timestamp())
