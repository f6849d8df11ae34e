"""Copies of a PostgreSQL database, which tests use one after another."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers import Postgres


class Copies:
    """Copies of a database, each for one test after another: to empty one is faster than to make one.

    Args:
        server: that has the databases.
        template: name of the database that is copied; only its tables named ``*_version`` have rows.
    """

    def __init__(self, server: Postgres, template: str) -> None:
        self._server = server
        self._template = template
        self._as_made = server.sql(_SCHEMA, name=template)
        self._empty: list[str] = []

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yields the URL of an empty copy, and closes the connections to it afterwards."""
        if self._empty:
            name = self._empty.pop()
        else:
            name = f"t_{os.urandom(6).hex()}"
            self._server.sql(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        try:
            yield self._server.url(name)
        finally:
            if self._server.sql(_EMPTY, _SCHEMA, name=name) == self._as_made:
                self._empty.append(name)
            else:
                self._server.sql(f"DROP DATABASE {name} WITH (FORCE)")


#: Deletes all rows. After many, where the tables would keep the room, the schema is made to differ.
_EMPTY = r"""
DO $$
DECLARE
  name text;
  deleted bigint;
  total bigint := 0;
BEGIN
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
  SET LOCAL session_replication_role = replica;
  FOR name IN SELECT tablename FROM pg_tables
    WHERE schemaname = 'public' AND tablename NOT LIKE '%\_version'
  LOOP
    EXECUTE format('DELETE FROM %I', name);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    total := total + deleted;
  END LOOP;
  FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' LOOP
    PERFORM setval(format('%I', name)::regclass, 1, false);
  END LOOP;
  IF total > 500 THEN
    CREATE TABLE used_up ();
  END IF;
END $$
"""
#: One line that is the same for two databases with the same schema and versions, and else another one.
_SCHEMA = r"""
SELECT md5(string_agg(fact, ' ' ORDER BY fact)) FROM (
  SELECT format('class %s %s', oid, xmin) FROM pg_class WHERE relnamespace = 'public'::regnamespace
  UNION ALL SELECT format('column %s %s %s', attrelid, attnum, pg_attribute.xmin)
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'public'::regnamespace
  UNION ALL SELECT format('constraint %s %s', oid, xmin) FROM pg_constraint
  UNION ALL SELECT format('trigger %s %s', oid, xmin) FROM pg_trigger
  UNION ALL SELECT format('function %s %s', oid, xmin) FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace
  UNION ALL SELECT format('schema %s', nspname) FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%'
  UNION ALL SELECT format('setting %s', setconfig) FROM pg_db_role_setting
    JOIN pg_database ON oid = setdatabase WHERE datname = current_database()
  UNION ALL SELECT query_to_xml(format('TABLE %I', tablename), true, false, '')::text FROM pg_tables
    WHERE schemaname = 'public' AND tablename LIKE '%\_version'
) AS facts(fact)
"""
