"""The database: units of work on SQLite or PostgreSQL, which count and time themselves.

- `interface`: what a service sees: read, write, wait for a change.
- `connect`: opens the database that a URL names.
- `sqlite`: one writer thread, durable commits.
- `postgres`: asyncpg, LISTEN/NOTIFY.
- `json_rows`: statements over many rows at once, which travel as one JSON text.
- `migrate`: brings a package's tables to the newest revision; `alembic` is its entry point.
"""
