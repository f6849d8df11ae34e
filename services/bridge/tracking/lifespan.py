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
from services.kit.background import instance_name
from services.kit.clock import Clock
from services.kit.database.connect import Database

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
    """Runs jobs, the stream, callbacks and retention while the block runs.

    Args:
        settings: of the bridge.
        database: of the bridge.
        metrics: of tracking.
        clock: the time.
        also: functions that delete a portion of other old rows, by table.
    """
    retention_loop = Retention(
        database,
        Folder(settings.data_dir / "archive"),
        keep_days=settings.retention_days,
        owner=instance_name(),
        clock=clock,
        metrics=metrics,
        also=also,
    )
    changes = Stream(database, metrics, heartbeat=settings.stream_heartbeat_seconds)
    work = Jobs(database, clock, metrics)
    everybody = Program(settings.status_webhook_url) if settings.status_webhook_url else None
    publisher_loop = Publisher(database, everybody, clock)
    loops = [asyncio.create_task(loop) for loop in (changes.run(), work.run(), publisher_loop.run())]
    retention_task = asyncio.create_task(retention_loop.run())
    try:
        yield Tracking(changes, metrics)
    finally:
        retention_loop.stop()
        for loop in loops:
            loop.cancel()
        for ended in await asyncio.gather(*loops, retention_task, return_exceptions=True):
            if isinstance(ended, Exception):
                log.error("tracking_failed", exc_info=ended)
