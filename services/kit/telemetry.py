"""One metric registry and one tracer provider a service.

Never the global ones: the embedded suite runs every service in one process, and each must
still answer for itself. Without an OTLP endpoint spans are made nowhere and cost nothing.
"""

import asyncio
import os
import time

import psutil
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Status, StatusCode
from prometheus_client import (
    Gauge,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from services.kit.meters import Count, Counter, Distribution, Histogram, Registry
from services.kit.otlp import SpanSender
from services.kit.settings import ServiceSettings
from services.kit.spans import FinishedSpan, TraceContext, new_span_id, new_trace_id

__all__ = ["FinishedSpan", "Telemetry", "TraceContext", "new_span_id", "new_trace_id"]

VERSION = "0.1.0"
CALL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class Telemetry:
    """What one service shows of itself.

    Args:
        name: the DNS name of the service, e.g. ``alert-relay``.
        settings: where spans go, and which share of the traces.
        exporter: another span exporter than OTLP.
    """

    def __init__(self, name: str, settings: ServiceSettings, exporter: SpanExporter | None = None) -> None:
        self.name = name
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each that no query reads
        self.registry = Registry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._cpu = Gauge(
            "process_cpu_usage_percent", "CPU of one core, last interval", registry=self.registry
        )
        self._lag = Gauge("event_loop_lag_seconds", "How late the event loop wakes", registry=self.registry)
        self._calls = Counter(
            "external_api_calls",
            "Calls to other programs; status_code is none where no answer came",
            ["provider", "endpoint", "status_code"],
            registry=self.registry,
        )
        self._call_duration = Histogram(
            "external_api_duration_seconds",
            "Calls to other programs, from the request to the answer's headers",
            ["provider", "endpoint"],
            buckets=CALL_BUCKETS,
            registry=self.registry,
        )
        self._bound: dict[tuple[str, str, str], tuple[Count, Distribution]] = {}
        self.sample_ratio = settings.otel_traces_sampler_arg
        self.resource = Resource.create(
            {"service.name": name, "service.version": VERSION, "service.instance.id": _instance()}
        )
        self.tracer_provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(self.sample_ratio)),
            resource=self.resource,
            shutdown_on_exit=False,
        )
        self._processor: BatchSpanProcessor | None = None
        endpoint = settings.otel_exporter_otlp_endpoint
        self._sender: SpanSender | None = None
        scope = f"cctelegram.{name}", VERSION
        if exporter is None and endpoint:
            known = {key: str(value) for key, value in self.resource.attributes.items()}
            self._sender = SpanSender(endpoint, known, scope)
            exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
        if exporter is not None:
            self._processor = BatchSpanProcessor(exporter, max_queue_size=20_000, max_export_batch_size=1_000)
            self.tracer_provider.add_span_processor(self._processor)
        self.tracer = self.tracer_provider.get_tracer(*scope)
        self._process = psutil.Process()
        self._process.cpu_percent()

    @property
    def exports_spans(self) -> bool:
        return self._processor is not None

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
        if self._processor is None or not span.context.sampled:
            return
        if self._sender is not None:
            self._sender.add(span)
            return
        self._processor.on_end(
            ReadableSpan(
                name=span.name,
                context=span.context.span_context(),
                parent=span.parent.span_context() if span.parent else None,
                resource=self.resource,
                attributes=span.attributes,
                kind=span.kind,
                status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
                start_time=int(span.start * 1e9),
                end_time=int(max(span.end, span.start) * 1e9),
                links=[Link(link.span_context()) for link in span.links],
            )
        )

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
        if self._sender is not None:
            self._sender.close()
        self.tracer_provider.shutdown()


def _instance() -> str:
    return f"{os.uname().nodename}-{os.getpid()}"
