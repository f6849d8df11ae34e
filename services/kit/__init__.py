"""Plumbing that every service stands on; it knows no domain noun.

- `telemetry`: metrics, traces and their export.
- `database`: units of work on SQLite and PostgreSQL, migrations.
- `web`: the FastAPI application of a service: routes, middleware, authentication, rate limit.
- `settings`: environment variables and secret files as typed values.
- `errors`: problem documents (RFC 9457).
- `health`: components that are measured, or unknown.
- `clock`: wall and monotonic time, as an argument.
- `background`: loops beside the requests.
- `logs`: JSON lines with trace ids, secrets redacted.
- `instance`: the name of this process among its replicas.
- `http_client`: HTTP clients whose calls are counted and traced.
- `runner`: starts uvicorn, for one service or the whole suite.
- `healthcheck`: the command of a container's health check.
- `secret_files`: the command that makes a deployment's secret files.
"""
