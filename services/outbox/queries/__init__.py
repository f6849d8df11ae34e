"""Reads messages for people, and measures the queue for metrics and health.

- `message_rows`: the rows that queries return, with their columns and types.
- `message_search`: search by properties, in pages.
- `message_timeline`: messages with their attempts and state changes.
- `queue_depth`: counts of waiting and of finished messages, from the tables.
- `rolling_counts`: counts of the last hour, in memory.
- `queue_monitor`: measures both all the time, for metrics and health.
"""
