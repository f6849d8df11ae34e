"""Telegram: message texts, calls of the Bot API, and what its answers mean.

- `text`: builds text with entities and splits what is too long.
- `links`: which URLs Telegram takes as links.
- `next_step`: which method is called next for a message, and with what; pure.
- `sender`: sends the next part of a message; the answer becomes a result.
- `pin`: pins a message after its last part.
- `deletion`: deletes an earlier message, part by part.
- `media`: the files of a message as its parts: albums, captions; pure.
- `uploads`: sends stored files, streamed from the database.
- `bot_api`: calls of the Bot API by python-telegram-bot's bot.
- `downloads`: files that people sent, from the server's file URL.
- `answers`: reads answers as typed, bounded values, or as the error that they report; pure.
- `values`: ids and texts of Telegram, checked for type and bounds; pure.
- `http_request`: the bot's HTTP client, by aiohttp.
- `request_body`: the body of a call, as JSON or as a form with a file.
- `connections`: the pool of connections, direct or through a proxy.
- `proxy`: parses TELEGRAM_PROXY_URL.
- `errors`: maps errors of the Bot API to reasons and outcomes.
"""
