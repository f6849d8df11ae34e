"""Statistics as the contract model: counts, rates and the queue of all replicas."""

from dataclasses import asdict
from typing import Any

from services.bridge.tracking.totals import Count, Totals
from services.contracts.messages import Latency, Rates, Stats
from services.kit.clock import rfc3339
from services.outbox.queries.queue_monitor import QueueMonitor
from services.outbox.queries.rolling_counts import LastHour


def stats(count: Count | None, queue: QueueMonitor) -> Stats:
    """The statistics as measured last.

    Args:
        count: the totals; None: not counted yet.
        queue: measures the queue and the last hour.
    """
    hour, depth, age = queue.last_hour, queue.depth, queue.oldest_age
    return Stats(
        **_totals(count),
        **_last_hour(hour),
        queue=depth.by_state if depth else None,
        oldest_message_age_seconds=None if age is None else round(age, 3),
        active_correlations=depth.correlations if depth else None,
    )


def _totals(count: Count | None) -> dict[str, Any]:
    totals = asdict(count.totals) if count else dict.fromkeys(asdict(Totals()))
    return {
        "counted_since": rfc3339(count.since) if count else None,
        "counted_at": rfc3339(count.at) if count else None,
        **{f"{name}_total": number for name, number in totals.items()},
    }


def _last_hour(hour: LastHour | None) -> dict[str, Any]:
    if hour is None:
        return {"rates": None, "delivery_rate_percent": None, "latency_seconds": None}
    rate, latency = hour.delivery_rate_percent, hour.quantiles
    return {
        "rates": Rates(
            accepted_per_second=round(hour.accepted_per_second, 3),
            delivered_per_second=round(hour.delivered_per_second, 3),
        ),
        "delivery_rate_percent": None if rate is None else round(rate, 3),
        "latency_seconds": None if latency is None else Latency(**asdict(latency)),
    }
