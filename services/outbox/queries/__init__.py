"""Reads messages for people, and measures the queue for metrics and health.

- `message_rows`: the rows that queries return, with their columns and types.
- `message_search`: search by properties, in pages.
- `shown`: which message of ours a chat shows, and whether it is deleted.
- `message_timeline`: messages with their attempts and state changes.
- `queue_depth`: counts of waiting messages, from the tables.
- `last_hour`: counts and durations of finished messages, from the tables.
- `rolling_counts`: rates and quantiles of the last hour; pure.
- `queue_monitor`: measures all of it again and again, for metrics, health and statistics.
"""
