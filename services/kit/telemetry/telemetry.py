"""One metric registry and one tracer provider a service.

Never the global ones: the embedded suite runs every service in one process, and each must
still answer for itself. Without an OTLP endpoint spans are made nowhere and cost nothing.
"""

import asyncio
import os
import time
from collections.abc import Callable

import psutil
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from services.kit.settings import ServiceSettings
from services.kit.telemetry import otlp_encoder
from services.kit.telemetry.otlp_sender import Destination, SpanCounts, SpanSender, SpanSink
from services.kit.telemetry.sdk_bridge import Forwarding
from services.kit.telemetry.spans import FinishedSpan, TraceContext, new_span_id, new_trace_id

__all__ = ["FinishedSpan", "Telemetry", "TraceContext", "new_span_id", "new_trace_id"]

VERSION = "0.1.0"
CALL_BUCKETS = (0.05, 0.2, 1, 5)


class Telemetry:
    """What one service shows of itself.

    Args:
        name: the DNS name of the service, e.g. ``alert-relay``.
        settings: where spans go, and which share of the traces.
        sink: where encoded spans go; unset: to the receiver of the settings.
    """

    def __init__(self, name: str, settings: ServiceSettings, sink: SpanSink | None = None) -> None:
        self.name = name
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each that no query reads
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._cpu = Gauge(
            "process_cpu_usage_percent",
            "CPU usage of the process over the last second, in percent of one core",
            registry=self.registry,
        )
        self._lag = Gauge(
            "event_loop_lag_seconds",
            "Delay of the event loop: how late a timer of one second fires",
            registry=self.registry,
        )
        self._calls = Counter(
            "external_api_calls",
            "Calls to other services, by status code; none means without a response",
            ["provider", "endpoint", "status_code"],
            registry=self.registry,
        )
        self._call_duration = Histogram(
            "external_api_duration_seconds",
            "Duration of calls to other services, from the request to the response headers",
            ["provider", "endpoint"],
            buckets=CALL_BUCKETS,
            registry=self.registry,
        )
        self._bound: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
        self.sample_ratio = settings.otel_traces_sampler_arg
        self.resource = Resource.create(
            {"service.name": name, "service.version": VERSION, "service.instance.id": _instance()}
        )
        self.tracer_provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(self.sample_ratio)),
            resource=self.resource,
            shutdown_on_exit=False,
        )
        self._scope = f"cctelegram.{name}", VERSION
        self._sink = sink
        destination, counts = Destination.of(settings), SpanCounts(self.registry)
        if sink is None and destination is not None:
            known = {key: str(value) for key, value in self.resource.attributes.items()}
            self._sink = SpanSender(destination, otlp_encoder.resource(known), counts)
        if self._sink is not None:
            self.tracer_provider.add_span_processor(Forwarding(self._sink))
        self.tracer = self.tracer_provider.get_tracer(*self._scope)
        self._process = psutil.Process()
        self._process.cpu_percent()

    @property
    def exports_spans(self) -> bool:
        return self._sink is not None

    def count_call(self, provider: str, endpoint: str, status_code: str, seconds: float) -> None:
        """Counts a call to another program; the labels must be bounded: no ids, no queries."""
        bound = self._bound.get((provider, endpoint, status_code))
        if bound is None:
            # Looking a series up by its labels costs more than counting.
            bound = (
                self._calls.labels(provider, endpoint, status_code),
                self._call_duration.labels(provider, endpoint),
            )
            self._bound[provider, endpoint, status_code] = bound
        calls, duration = bound
        calls.inc()
        duration.observe(seconds)

    def new_trace(self) -> TraceContext:
        trace_id = new_trace_id()
        # The same bound on the low 64 bits as TraceIdRatioBased, so that every service agrees.
        sampled = (trace_id & 0xFFFF_FFFF_FFFF_FFFF) < self.sample_ratio * (1 << 64)
        return TraceContext(trace_id, new_span_id(), sampled)

    def write(self, span: FinishedSpan) -> None:
        """Exports a span made from stored times; none where the trace is not sampled."""
        if span.context.sampled:
            self.keep(span)

    def keep(self, span: FinishedSpan) -> None:
        """Exports a span whether or not its trace is sampled."""
        if self._sink is not None:
            self.export(otlp_encoder.encode(span), 1)

    def export(self, spans: bytes, count: int) -> None:
        """Exports spans whether or not they are sampled.

        Args:
            spans: encoded by :mod:`services.kit.telemetry.otlp_encoder`, one behind the other.
            count: how many they are.
        """
        if self._sink is not None and count:
            self._sink.add(self._scope, spans, count)

    def export_later(self, write: Callable[[], bytes], count: int) -> None:
        """As :meth:`export`, of spans that are written with others, in any thread, and soon.

        Args:
            write: answers with them.
            count: how many they will be.
        """
        if self._sink is not None and count:
            self._sink.add_later(self._scope, write, count)

    async def watch_process(self, every: float = 1.0) -> None:
        """Measures CPU and event-loop lag until cancelled."""
        while True:
            before = time.perf_counter()
            await asyncio.sleep(every)
            self._lag.set(max(0.0, time.perf_counter() - before - every))
            self._cpu.set(self._process.cpu_percent())

    def uptime(self) -> float:
        """Seconds since the process started."""
        return time.time() - self._process.create_time()

    def memory_bytes(self) -> int:
        return int(self._process.memory_info().rss)

    def cpu_percent(self) -> float:
        """CPU of one core over the last second, as :meth:`watch_process` measured it."""
        return float(next(iter(self._cpu.collect())).samples[0].value)

    def close(self) -> None:
        """Sends the spans that wait."""
        self.tracer_provider.shutdown()
        if self._sink is not None:
            self._sink.close()


def _instance() -> str:
    return f"{os.uname().nodename}-{os.getpid()}"
