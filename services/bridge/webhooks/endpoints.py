"""Failing endpoints: since when they fail, and when they are disabled.

A call is retried for less than two days. An endpoint that has accepted nothing for five days is disabled; one
that answers 410 is disabled at once. Its calls fail without an attempt, except one a day as a probe.
"""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, delete, select, update

from services.bridge.webhooks.schema import webhook_endpoint
from services.kit.database.connect import upsert

DAY = 86_400.0
DISABLED_AFTER = 5 * DAY
PROBED_EVERY = DAY


def worked(connection: Connection, url: str) -> None:
    """Forgets the failures of an endpoint that accepted a call or was set again."""
    connection.execute(delete(webhook_endpoint).where(webhook_endpoint.c.url == url))


def failed(connection: Connection, url: str, error: str, *, gone: bool, now: float) -> bool:
    """Stores a failed call; returns whether the endpoint is disabled by it.

    Args:
        connection: in a transaction.
        url: of the endpoint.
        error: for people.
        gone: whether the endpoint answered 410.
        now: seconds since the epoch.
    """
    noted = upsert(connection, webhook_endpoint).values(
        url=url, failing_since=now, tried_at=now, last_error=error
    )
    changed = {name: noted.excluded[name] for name in ("tried_at", "last_error")}
    connection.execute(noted.on_conflict_do_update(index_elements=[webhook_endpoint.c.url], set_=changed))
    works = (webhook_endpoint.c.url == url, webhook_endpoint.c.disabled_at.is_(None))
    long = [] if gone else [webhook_endpoint.c.failing_since <= now - DISABLED_AFTER]
    disable = (
        update(webhook_endpoint).where(*works, *long).values(disabled_at=now, probe_at=now + PROBED_EVERY)
    )
    return connection.execute(disable).rowcount == 1


def disabled(connection: Connection, urls: Collection[str], now: float) -> tuple[dict[str, float], set[str]]:
    """The disabled endpoints with the time of disabling, and those whose daily probe is due now."""
    found = select(webhook_endpoint.c.url, webhook_endpoint.c.disabled_at).where(
        webhook_endpoint.c.url.in_(urls), webhook_endpoint.c.disabled_at.is_not(None)
    )
    since = dict(connection.execute(found).tuples().all())
    return since, {url for url in sorted(since) if _probes(connection, url, now)}


def _probes(connection: Connection, url: str, now: float) -> bool:
    due = (webhook_endpoint.c.url == url, webhook_endpoint.c.probe_at <= now)
    probe = update(webhook_endpoint).where(*due).values(probe_at=now + PROBED_EVERY)
    return connection.execute(probe).rowcount == 1


def failing(connection: Connection, urls: Collection[str]) -> Mapping[str, Any]:
    """The failing ones of these endpoints, by URL."""
    query = select(webhook_endpoint).where(webhook_endpoint.c.url.in_(urls))
    return {row["url"]: row for row in connection.execute(query).mappings()}


def delete_old(connection: Connection, before: float) -> None:
    """Deletes endpoints that were last called before a time."""
    connection.execute(delete(webhook_endpoint).where(webhook_endpoint.c.tried_at < before))
