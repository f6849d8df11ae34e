"""The web application of a service.

- `service`: makes a FastAPI application with health, metrics and documentation routes.
- `middleware`: what every request passes: request metrics, size limit, correlation id.
- `fast_route`: routes whose requests pass neither router nor dependency injection.
- `auth`: bearer keys, and files that hold them.
- `rate_limit`: limits a caller's requests, and blocks an address after failed logins.
- `openapi`: responses and examples for the OpenAPI document.
"""
