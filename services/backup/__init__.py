"""Backup and restore of everything that the suite stores, in one archive.

`python -m services.backup` writes an archive while the services run; `python -m services.restore` puts one
back.

- `command`: what both commands share: signals, errors, exit codes.
- `settings`: the environment variables of both commands.
- `stores`: which databases and files are in a backup, and which are left out.
- `manifest`: the list of an archive's parts, with versions and checksums.
- `archive`: the file itself: writes, reads and verifies it.
- `sqlite_copy`: copies a SQLite database under load, and opens a copy.
- `postgres_dump`: PostgreSQL's own pg_dump and pg_restore.
- `postgres_restore`: puts a dump into a database, so that no service starts on half of it.
- `in_place`: holds or marks in databases that are where they belong.
- `recovery`: the steps of a restore.
- `sent_since`: holds or marks what may have been sent since the backup.
"""
