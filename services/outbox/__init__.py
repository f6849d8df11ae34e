"""The durable delivery engine: a library that bridge and alert_relay use.

The message table is the queue. Follow one message:

    intake       enqueue  stores it with the events of other requests in one commit; the caller waits for it
    rate_limit   pace     grants how many messages may be sent now, by Telegram's limits
    delivery     claim    leases a chat to one worker and opens an attempt for its next message, on disk
    delivery     (render) makes text and entities of the event, by a function of the owning service
    telegram     send     calls the Bot API; its answer becomes an outcome
    delivery     decide   maps the outcome to the message's next state (retry_policy)
    delivery     settle   writes the outcome and the state, and releases the chat

A chat is leased, not a message: the order within a chat holds for any number of workers, and the cost of
a claim does not grow with the number of waiting messages.

Beside them: `engine` opens the engine for a service, `chats` stores each chat's queue and state, `files`
stores what events show beside their text, `queries` reads messages for people and metrics, `tracing` makes a
message's spans, `change_feed` publishes state changes. `messages` has the values, `schema` the tables,
`metrics` the series, `settings` the variables, `migrations` the schema's history.
"""
