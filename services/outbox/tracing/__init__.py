"""Tracing: spans of messages, made from their stored timeline after the fact.

- `message_spans`: the spans accept, enqueue, queue, pace, send and settle.
- `tail_sampling`: exports unsampled traces of slow and failed messages at their end.
"""
