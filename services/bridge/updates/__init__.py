"""Updates: how the bridge reacts to what people do in Telegram; :mod:`services.updates` stores it first.

- `context`: the input and the result of handling one update.
- `handler`: handles the updates of one bot: reacts, stores, and publishes after the commit.
- `taps`: decides on the reaction to a tap.
- `client_buttons`: the reaction to a tap on a button of a client's event.
- `text_messages`: decides on the reaction to a reply, a command, a file or another text.
- `other_messages`: a file without words at a question, and content that no program can use.
- `strangers`: people who may not use the bot.
- `reply_links`: what a message replies to.
- `text_answers`: a text answers an approval.
- `reply_messages`: the response and the reply to a text or a file (pure).
- `responses`: what people sent, for `GET /api/v1/responses`.
- `active_users`: counts the people who use the bots.
- `schema`: the table of responses.
- `metrics`: the series of people.
- `sent_files`: the file of a response, passed on from Telegram.
- `api`: `POST /telegram/webhook`, `GET /api/v1/responses` and `GET /api/v1/responses/{id}/file`.
"""
