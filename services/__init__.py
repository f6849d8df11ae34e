"""CCTelegram: takes events and alerts over REST, and delivers them to Telegram durably and observably.

- `bridge`: events in, messages to Telegram; what people do in Telegram.
- `alert_relay`: Alertmanager's alerts become incidents and notifications.
- `mcp_health`: health of every part, compliance.
- `dashboard`: the live page.
- `telegram_sandbox`: a Bot API server that behaves as Telegram does.
- `outbox`: the delivery engine of bridge and alert_relay.
- `updates`: what people do in Telegram, received once and stored, for any service with a bot.
- `cli`: the command `cct`. `client`: the typed Python client of the APIs that it uses.
- `contracts`: models of requests and answers.
- `kit`: infrastructure of every service.
- `backup`: the command that backs everything up, and what a restore does.
- `restore`: the command that restores a backup.
- `__main__`: the whole suite in one process; `demo` sends it a few events and an alert.
"""
