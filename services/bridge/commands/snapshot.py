"""Reads the latest measurements from the running parts, for commands; it measures nothing itself."""

from dataclasses import asdict, dataclass

from services.bridge.commands.commands import Component, Snapshot
from services.bridge.tracking.totals import TotalsCounter
from services.kit.health import Health
from services.kit.telemetry.telemetry import VERSION, Telemetry
from services.outbox.engine import Outbox


@dataclass(frozen=True, slots=True)
class SnapshotReader:
    """Reads snapshots from the parts that measure."""

    outbox: Outbox
    totals: TotalsCounter
    health: Health
    telemetry: Telemetry

    def snapshot(self) -> Snapshot:
        """The latest measurements, without open approvals, which are a person's own."""
        queue, count = self.outbox.queue, self.totals.latest
        hour = queue.last_hour
        quantiles = hour.quantiles if hour else None
        return Snapshot(
            level=self.health.level.value,
            components=tuple(
                Component(name, part.measurement.level.value, part.measurement.measured)
                for name, part in self.health.components.items()
            ),
            version=VERSION,
            uptime=self.telemetry.uptime(),
            memory_bytes=self.telemetry.memory_bytes(),
            cpu_percent=self.telemetry.cpu_percent(),
            totals=asdict(count.totals) if count else {},
            totals_since=count.since if count else None,
            queue=queue.depth.by_state if queue.depth else None,
            oldest_age=queue.oldest_age,
            accepted_per_second=hour.accepted_per_second if hour else None,
            delivered_per_second=hour.delivered_per_second if hour else None,
            delivery_percent=hour.delivery_rate_percent if hour else None,
            p50=quantiles.p50 if quantiles else None,
            p95=quantiles.p95 if quantiles else None,
            p99=quantiles.p99 if quantiles else None,
        )
