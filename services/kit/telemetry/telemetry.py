"""The metric registry and the tracer provider of one service.

They are never the global ones: the embedded suite runs every service in one process, and each has metrics and
traces under its own name. Without an exporter no span is made.
"""

import asyncio
import logging
import os
import time

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
from services.kit.telemetry.console import ConsoleExporter
from services.kit.telemetry.exporter import Destination, Exporter
from services.kit.telemetry.sdk_processor import QueueSpanProcessor
from services.kit.telemetry.span_queue import SpanCounts, SpanQueue, SpanSink, Write
from services.kit.telemetry.span_writer import SpanWriter
from services.kit.telemetry.spans import FinishedSpan, TraceContext, new_span_id, new_trace_id

__all__ = ["FinishedSpan", "Telemetry", "TraceContext", "new_span_id", "new_trace_id"]

VERSION = "0.1.0"
CALL_BUCKETS = (0.05, 0.2, 1, 5)


class Telemetry:
    """Metrics and traces of one service.

    Args:
        name: the DNS name of the service, e.g. ``alert-relay``.
        settings: the exporter of spans, and the share of traces that are sampled.
        sink: takes the spans instead of the exporter of the settings.
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
            "Calls to other programs, by status code; none means without a response",
            ["provider", "endpoint", "status_code"],
            registry=self.registry,
        )
        self._call_duration = Histogram(
            "external_api_duration_seconds",
            "Duration of calls to other programs, to the response headers; to Telegram, to the whole answer",
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
        scope = f"cctelegram.{name}"
        self._sink = sink
        counts, exporter = SpanCounts(self.registry), None if sink else _exporter(settings)
        if exporter is not None:
            attributes = {key: str(value) for key, value in self.resource.attributes.items()}
            self._sink = SpanQueue(exporter, SpanWriter(attributes, scope, VERSION), counts)
        if self._sink is not None:
            self.tracer_provider.add_span_processor(QueueSpanProcessor(self._sink))
        self.tracer = self.tracer_provider.get_tracer(scope, VERSION)
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

    def export_if_sampled(self, span: FinishedSpan) -> None:
        """Exports a span if its trace is sampled."""
        if span.context.sampled:
            self.export_span(span)

    def export_span(self, span: FinishedSpan) -> None:
        """Exports a span whether or not its trace is sampled."""
        self.export_spans(lambda writer: writer.add_finished(span), 1)

    def export_spans(self, write: Write, count: int) -> None:
        """Exports spans whether or not their traces are sampled.

        Args:
            write: adds them to a request, at once.
            count: how many it adds.
        """
        if self._sink is not None and count:
            self._sink.add(write, count)

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
        """Exports the spans that are queued."""
        self.tracer_provider.shutdown()
        if self._sink is not None:
            self._sink.close()


def _instance() -> str:
    return f"{os.uname().nodename}-{os.getpid()}"


def _exporter(settings: ServiceSettings) -> Exporter | None:
    """The exporter that the settings choose; None where no span is exported."""
    match settings.traces_exporter:
        case "none":
            return None
        case "console":
            return ConsoleExporter()
    to = Destination.of(settings)
    # The clients' own log lines repeat addresses, which may hold a key; the queue logs and counts all losses.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    # A client takes 5 MB (HTTP) or 10 MB (gRPC), which a service without it should not pay.
    if to.protocol == "grpc":
        from services.kit.telemetry.otlp_grpc import GrpcExporter  # noqa: PLC0415 - see above

        return GrpcExporter(to)
    from services.kit.telemetry.otlp_http import HttpExporter  # noqa: PLC0415 - see above

    return HttpExporter(to)
