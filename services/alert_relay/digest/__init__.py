"""The digest of a week: what was measured, against the week before.

- `figures`: measures a period, by SQL.
- `words`: the text; pure.
- `weekly`: sends it once a week, by the outbox.
"""
