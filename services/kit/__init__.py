"""Infrastructure that every service uses; it contains nothing of the domain.

- `telemetry`: metrics, traces and their export.
- `database`: units of work on SQLite and PostgreSQL, migrations, leader leases.
- `web`: the FastAPI application of a service: routes, middleware, authentication, rate limit.
- `settings`: environment variables and secret files as typed values.
- `errors`: problem documents (RFC 9457). `field_errors`: their texts and paths for wrong fields.
- `health`: components of a service and their measurements.
- `clock`: wall and monotonic time, as an argument.
- `token_bucket`: a rate limit as fractional tokens.
- `background`: background tasks, failures that are logged, a unique name of this process among replicas.
- `logs`: JSON lines with trace ids, secrets redacted.
- `http_client`: HTTP clients with metrics and traces.
- `runner`: runs one service, or all of them, under uvicorn.
- `healthcheck`: the health check command of a container.
- `secret_files`: the command that creates a deployment's secret files.
"""
