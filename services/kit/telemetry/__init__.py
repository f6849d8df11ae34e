"""Telemetry: metrics, traces and their export.

- `telemetry`: the registry, the tracer and the standard series of one service.
- `spans`: trace context and finished spans as values.
- `otlp_encoder`: spans as OTLP messages.
- `otlp_sender`: sends spans to an OTLP receiver in batches.
- `sdk_bridge`: hands spans of the OpenTelemetry SDK to the same sender.
"""
