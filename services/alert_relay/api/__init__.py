"""The routes.

- `webhooks`: Alertmanager posts webhooks.
- `incidents`: incidents, for people, programs and the dashboard.
- `post_mortem`: the timeline of an incident as Markdown; pure.
- `dead_letters`: notifications that did not arrive, and their replay.
- `maintenance`: maintenance windows.
- `digest`: what was measured of a period.
- `clusters`: which Alertmanagers belong together.
- `on_call`: whom an alert would notify, and when: a dry run.
- `targets`: where notifications may go, and a test of one.
"""
