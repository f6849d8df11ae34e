"""Reads the latest measurements from the running parts, for commands; it measures nothing itself."""

from dataclasses import dataclass

from services.bridge.commands.commands import Component, Snapshot
from services.kit.clock import Clock
from services.kit.health import Health
from services.kit.telemetry.telemetry import VERSION, Telemetry
from services.outbox.engine import Outbox


@dataclass(frozen=True, slots=True)
class SnapshotReader:
    """Reads snapshots from the parts that measure."""

    outbox: Outbox
    health: Health
    telemetry: Telemetry
    clock: Clock

    def snapshot(self) -> Snapshot:
        """The latest measurements, without open approvals, which are a person's own."""
        outbox, tally = self.outbox, self.outbox.queue.counts
        now = self.clock.time()
        accepted, delivered = tally.per_second(now)
        quantiles = tally.quantiles()
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
            totals=outbox.metrics.totals(),
            queue=outbox.queue.depth.by_state if outbox.queue.depth else None,
            oldest_age=outbox.queue.oldest_age,
            accepted_per_second=accepted,
            delivered_per_second=delivered,
            delivery_percent=tally.delivery_rate_percent(now),
            p50=quantiles.p50 if quantiles else None,
            p95=quantiles.p95 if quantiles else None,
            p99=quantiles.p99 if quantiles else None,
        )
