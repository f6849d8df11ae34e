"""Alertmanager's webhooks become incidents, and people get notifications on Telegram.

The path of one alert:

    api                  `receive` validates the payload and answers after the commit
    relay                limits how many webhooks are stored at once, and counts what was stored
    parse                the payload as domain values; pure
    store                `receive`: one transaction with the webhook, its episodes, incidents and messages
    episodes             `observe`: compares a listed alert with the stored episode; pure
    episode_store        the SQL of episodes, incidents and timelines
    notifications        `compose`: decides which alerts to notify, how loudly, in how many messages; pure
    render               a notification as text and entities; pure
    (services.outbox)    delivers the messages and reports each outcome

Beside that path:

    queries              reads incidents for the API
    watchdog             measures the age of the Watchdog alert and opens an incident when it is overdue
    refusing_chats       which alerts are tried at a chat that refused the bot; pure
    recipients           the chats of the settings, else the first chat, which the bridge names once
    truncated_worker     fetches the alerts that a webhook left out (`max_alerts`) from Alertmanager
    truncated_store      the SQL of that worker
    alertmanager_client  calls Alertmanager's API
    retention            deletes old webhooks, incidents and messages
    schema               the tables; their migrations are in `migrations/`
    metrics              the service's metrics
    settings             the environment variables
    state                the objects that routes get by dependency injection
    app                  builds the service

This service sends through an outbox of its own: the alert path must not depend on the bridge that it watches.
"""
