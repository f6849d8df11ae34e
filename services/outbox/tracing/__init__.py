"""Tracing: spans of messages, made from their stored timeline after the fact.

- `message_spans`: the spans accept, enqueue, queue, pace, send and settle.
- `tail_sampling`: exports traces of slow and failed messages that are not sampled.
"""
