"""CCTelegram: takes events and alerts over REST and delivers them to Telegram durably.

Services: `bridge` (events), `alert_relay` (alerts), `mcp_health` (health of all parts), `dashboard` (the live
page), `telegram_sandbox` (replaces Telegram). Libraries: `outbox` (the delivery engine), `contracts` (models
of requests and answers), `kit` (infrastructure). Command: `demo` (sends examples to a running suite).
"""
