"""Queries: what people and metrics read of the queue.

- `message_queries`: searches messages and reads the timeline of one.
- `queue_depth`: counts messages by state, and finds the oldest that is due.
- `rolling_counts`: accepted, delivered and failed messages of the last hour; pure.
"""
