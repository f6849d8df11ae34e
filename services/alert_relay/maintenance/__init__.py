"""Maintenance windows: while one is active, people are not notified of the alerts that it matches.

- `recurrence`: when a recurring window is active; pure.
- `window`: the window; pure.
- `words`: the summary at the end of a window; pure.
- `store`: the SQL of windows.
- `ends`: the end of a window: what still fires is news.
"""
