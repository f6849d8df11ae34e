"""Stored updates: the table of updates, each of which is stored once and handled once.

- `schema`: the table. `migrations` makes it where no earlier revision of the bridge has.
- `store`: its rows.

It is a package of its own for the sake of its version table: `updates_version` belongs to the package
`updates` of the bridge.
"""
