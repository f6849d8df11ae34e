"""Fuzzes every operation of every service as it runs: ``python -m tests.fuzz``, or ``make fuzz``.

Schemathesis makes requests of each service's OpenAPI document: the examples, the limits of each field and one
step beyond (coverage), random valid and invalid ones (fuzzing), and chains in which a request uses what an
earlier one returned (stateful). Each service is a process of its own on SQLite; the bridge also on
PostgreSQL.

- `run`: runs schemathesis's engine, and counts operations, requests and failures.
- `hooks`: changes requests that would only wait, and uses ids that exist.
- `targets`: starts each service with what it needs.
- `__main__`: runs all of it and prints a table. Exit code 1: an answer with status 500 or that the document
  does not name, or an operation that no request reached.
"""
