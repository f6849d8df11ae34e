"""Alertmanager's webhooks become incidents, and people get notifications on Telegram.

The path of one alert:

    api                  `receive` validates the payload and answers after the commit
    relay                limits how many webhooks are stored at once, and counts what was stored
    parse                the payload as domain values; pure
    store                `receive`: one transaction with the webhook, its episodes, incidents and messages
    clusters             (package) which Alertmanagers belong together
    episodes             `observe`: compares a listed alert with the stored episode; pure
    episode_store        the SQL of episodes, incidents and timelines
    notifications        `compose`: decides which alerts to notify, how loudly, in how many messages; pure
    render               a notification as text and entities; pure
    (services.outbox)    delivers the messages and reports each outcome

What webhooks do not say:

    reconciler           reads the alerts of each cluster from Alertmanager's API
    alertmanager_client  calls the API
    alertmanager_config  Alertmanager's configuration: how often each route repeats; pure
    snapshot             `correct`: compares the alerts of a cluster with the stored episodes; pure
    snapshot_store       the SQL of snapshots
    heartbeats           decides which alerts the relay raises when a Watchdog alert is overdue; pure
    watchdog             measures the age of Watchdog alerts and reports these alerts

Beside that:

    queries              reads incidents for the API
    clusters_api         the routes of clusters
    refusing_chats       which alerts are tried at a chat that refused the bot; pure
    recipients           the chats of the settings, else the first chat, which the bridge names once
    retention            deletes old webhooks, incidents and messages
    schema               the tables; their migrations are in `migrations/`
    metrics              the service's metrics
    settings             the environment variables
    state                the objects that routes get by dependency injection
    app                  builds the service

This service sends through an outbox of its own: the alert path must not depend on the bridge that it watches.
"""
