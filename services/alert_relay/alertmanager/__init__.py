"""What Alertmanager sends and answers.

- `parse`: the payload of a webhook as domain values; pure.
- `snapshot`: `correct` compares the alerts that its API lists with the stored episodes; pure.
- `client`: calls its API.
- `config`: its configuration: how often each route repeats; pure.
"""
