"""The durable delivery engine: a library that bridge and alert_relay both stand on.

Follow one message:

    intake    enqueue   with the events of other requests in one commit; the caller waits for it
    limiter   pace      how many may leave now, by Telegram's rate for the bot and for the chat
    claims    claim     a chat is leased to one worker, and its next message is taken; the attempt
                        is on disk before the call
    worker    (render)  the owning service makes text and entities of the event
    telegram  send      a call of the Bot API (bot_api); what it answers becomes an outcome (refusals)
    policy    decide    outcome -> what becomes of the message; pure
    claims    settle    the decision is written, and the chat is given back

The message table is the queue. A chat is leased, not a message: so the order in a chat holds
whatever the number of workers, and a million waiting messages cost a claim no more than ten.
"""
