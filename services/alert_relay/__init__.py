"""Alertmanager's webhooks become incidents, and people get notifications on Telegram.

The path of one alert:

    api                `webhooks.receive` validates the payload and answers after the commit
    relay              limits how many webhooks are stored at once, and counts what was stored
    urgent_first       which of the waiting webhooks is stored next
    alertmanager       (package) the payload as domain values; also calls Alertmanager's API
    store              `receive`: one transaction with the webhook, its episodes, incidents and messages
    clusters           (package) which Alertmanagers belong together
    channels           (package) where notifications go, and by which channel
    incidents          (package) episodes of alerts, and the incidents that people handle
    digest             (package) what was measured of a week, sent once a week
    digest_time        when that is; pure
    maintenance        (package) windows in which people are not notified of the alerts that they match
    notifications      (package) decides which alerts to notify, how loudly, in how many messages; their text
    senders            (package) sends by channels other than Telegram
    (services.outbox)  delivers the messages and reports each outcome

    commands           carries out what a person does: acknowledge, resolve, write a note

    bot                (package) the buttons and commands in Telegram, by which people do that

    escalation         (package) what happens while no person acknowledges an incident, or nothing arrives
    on_call            (package) who is notified of which incident, and who next: ON_CALL_FILE
    timers             does what is due: an acknowledgement that has lasted too long, the end of flapping,
                       the end of a maintenance window

What webhooks do not say:

    reconciler         reads the alerts of each cluster from Alertmanager's API
    snapshot_store     corrects what is stored by the alerts that the API lists
    heartbeats         decides which alerts the relay raises when a Watchdog alert is overdue; pure
    watchdog           measures the age of Watchdog alerts and reports these alerts

Beside that:

    outcomes           counts what became of notifications
    retention          deletes old webhooks, incidents and messages
    schema             the tables; their migrations are in `migrations/`
    metrics            the service's metrics
    settings           the environment variables
    state              the objects that routes get by dependency injection
    app                builds the service

This service sends through an outbox of its own: the alert path must not depend on the bridge that it watches.
"""
