"""Channels: how notifications reach people.

- `target`: where a notification goes, as text; pure.
"""
