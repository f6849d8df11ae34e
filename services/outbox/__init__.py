"""The durable delivery engine: a library that bridge and alert_relay both stand on.

The message table is the queue. One message passes these packages:

    intake       enqueue  stores it with the events of other requests in one commit; the caller waits for it
    rate_limit   pace     grants how many messages may leave now, by Telegram's limits
    delivery     claim    leases a chat to one worker and opens an attempt for its next message, on disk
    (owner)      render   makes text and entities of the event; the owning service does it
    telegram     send     calls the Bot API; its answer becomes an outcome
    delivery     settle   decides from the outcome (retry_policy), writes it, and releases the chat

A chat is leased, not a message: so the order within a chat holds for any number of workers, and a
million waiting messages cost a claim no more than ten.

Beside them: `engine` opens all of it for a service, `chats` holds each chat's queue and state, `queries`
reads messages for people and metrics, `tracing` makes a message's spans, `change_feed` publishes state
changes. `messages` has the values, `schema` the tables, `metrics` the series, `settings` the variables,
`migrations` the schema's history.
"""
