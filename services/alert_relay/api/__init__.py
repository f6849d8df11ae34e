"""The routes.

- `webhooks`: Alertmanager posts webhooks.
- `incidents`: incidents, for people, programs and the dashboard.
- `clusters`: which Alertmanagers belong together.
"""
