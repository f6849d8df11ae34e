"""Updates: what people do in Telegram, stored before it is acknowledged, then handled from the store.

source     long polling, or a webhook: where updates come from
receiver   one replica at a time, by a lease: hears, stores, handles
incoming   an update as a value (pure)
acting     takes what is stored, one after the other
handler    what an update brings about, in one transaction; talk, what is written to the bot
chores     small calls to Telegram that follow: over a button, under a text
responses  what people sent, for those who asked
store      the rows of all of it
api        POST /telegram/webhook, GET /api/v1/responses
"""
