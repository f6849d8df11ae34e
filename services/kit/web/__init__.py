"""The web application of a service.

- `service`: makes a FastAPI application a service.
- `common_routes`: health, liveness, readiness and metrics of every service.
- `server`: uvicorn's server, which accepts connections while there are places.
- `connections`: the places of a process, and which connection is closed when they are used up.
- `protocols`: HTTP and WebSocket of a connection, with limits on a client's size and time.
- `strict_request`: refuses repeated headers, and query parameters that a route does not have.
- `middleware`: request metrics, log context, body limit, HEAD, unhandled errors.
- `bodies`: unpacks compressed bodies; takes JSON that is not named so.
- `body_stream`: bodies that are read piece by piece.
- `multipart`: forms with files, read part by part.
- `fast_route`: routes that skip FastAPI's router and dependency injection.
- `client_address`: the client of a request behind a proxy.
- `auth`: authentication by bearer key, and secrets in files.
- `credentials`: the key of a request, also by HTTP Basic.
- `login_blocker`: blocks an address after repeated failed logins.
- `internal`: requests that the suite makes of itself.
- `webhook_signatures`: the headers of Standard Webhooks.
- `rate_limit`: limits a caller's requests; security metrics.
- `docs_pages`: the API's documentation in a browser.
- `security_headers`: headers that tell browsers what a page may do.
- `origin`: which web page a request comes from.
- `metrics_access`: who may read `/metrics`.
- `openapi`: error responses in the OpenAPI document.
"""
