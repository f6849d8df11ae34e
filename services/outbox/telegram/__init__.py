"""Telegram: texts, calls of the Bot API, and what their answers mean.

- `text`: builds and splits text with entities.
- `sender`: sends one rendered message; the answer becomes a result.
- `bot_api`: calls of the Bot API over HTTP.
- `errors`: maps the Bot API's errors to reasons and outcomes.
"""
