"""Alertmanager's webhook becomes incidents, and people are told on Telegram.

Follow one alert:

    api        receive    the payload is read strictly; the answer waits for the commit
    store      receive    one transaction: the raw webhook, its episodes, their incidents, the messages
    episodes   observe    what one listed alert means for what is known of it; pure
    notices    compose    which of that people are told, how loudly, in how many messages; pure
    render     render     a notice as text and entities; pure
    (outbox)              delivers, and tells metrics what came of it

Beside it: ``completing`` asks Alertmanager for what a webhook left out, ``deadman`` tells when the sign
of life stays away, ``retention`` deletes what is old.

What watches must not depend on what it watches: this service sends by an outbox of its own.
"""
