"""Webhooks of other products, each read to an event of the source of that name.

- `api`: the routes.
- `sources`: the products, and how each proves who it is.
- `payload`: what the readers share: texts that are cut to what a message can show.
- `github`, `gitlab`, `grafana`, `sentry`, `healthchecks`, `uptime_kuma`: a product's payload and its event.
- `openapi`: the document of the routes.
"""
