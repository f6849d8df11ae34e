"""Opens tracking: jobs, the stream and the retention, for as long as the bridge runs."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from services.bridge.settings import BridgeSettings
from services.bridge.tracking.archive import Folder
from services.bridge.tracking.callbacks.publisher import Publisher
from services.bridge.tracking.callbacks.store import Program
from services.bridge.tracking.jobs import Jobs
from services.bridge.tracking.metrics import TrackingMetrics
from services.bridge.tracking.retention import Forget, Retention
from services.bridge.tracking.stream import Stream
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.instance import instance_name

log = structlog.get_logger()

PACKAGE = "services.bridge.tracking"


@dataclass(frozen=True, slots=True)
class Tracking:
    """What the routes need."""

    stream: Stream
    metrics: TrackingMetrics


@asynccontextmanager
async def open_tracking(
    settings: BridgeSettings,
    *,
    database: Database,
    metrics: TrackingMetrics,
    clock: Clock,
    also: Mapping[str, Forget],
) -> AsyncIterator[Tracking]:
    """Works for the length of the block; ``also`` is what else the retention deletes."""
    keeping = Retention(
        database,
        Folder(settings.data_dir / "archive"),
        keep_days=settings.retention_days,
        owner=instance_name(),
        clock=clock,
        metrics=metrics,
        also=also,
    )
    following = Stream(database, metrics, heartbeat=settings.stream_heartbeat_seconds)
    work = Jobs(database, clock, metrics)
    everybody = Program(settings.status_webhook_url) if settings.status_webhook_url else None
    telling = Publisher(database, everybody, clock)
    loops = [asyncio.create_task(loop) for loop in (following.run(), work.run(), telling.run())]
    archiving = asyncio.create_task(keeping.run())
    try:
        yield Tracking(following, metrics)
    finally:
        keeping.stop()
        for loop in loops:
            loop.cancel()
        for ended in await asyncio.gather(*loops, archiving, return_exceptions=True):
            if isinstance(ended, Exception):
                log.error("tracking_failed", exc_info=ended)
