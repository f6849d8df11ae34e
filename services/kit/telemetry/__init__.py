"""Telemetry: metrics, traces and their export.

- `telemetry`: the registry, the tracer and the standard series of one service.
- `buckets`: bucket bounds of histograms of long durations.
- `spans`: trace context and finished spans as values.
- `span_writer`: builds OTLP requests from protobuf messages.
- `span_queue`: a bounded queue of spans and the thread that exports them.
- `sdk_processor`: takes spans of the OpenTelemetry SDK to the same queue.
- `exporter`: what the exporters have in common: destination, result, retries.
- `otlp_http`, `otlp_grpc`: the official OTLP exporters.
- `console`: writes spans to standard output.
"""
