"""Alerts as episodes, and the incidents that people handle.

- `episodes`: `observe` compares a listed alert with the stored episode; pure.
- `severity`: how urgent an alert's severity label is; pure.
- `episode_store`: the SQL of episodes, incidents and timelines.
- `queries`: reads incidents for the API.
"""
