"""The database: units of work on SQLite or PostgreSQL, counted and timed.

- `interface`: what a service uses: read, write, notify, subscribe.
- `connect`: opens the database that a URL names.
- `sqlite`: one writer thread with group commit.
- `sqlite_files`: whether the open files are still those at the path.
- `postgres`: asyncpg, single statements, LISTEN/NOTIFY.
- `postgres_probe`: reads and writes for health, past the pools.
- `failures`: failures of writes, which stand until writes succeed again.
- `json_rows`: statements over many rows, which are passed as one JSON parameter.
- `leader_lease`: work that one replica does at a time.
- `migrate`: migrates a package's tables; `alembic` is its entry point.
"""
